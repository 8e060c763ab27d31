//! Facts about a checked model.

/// A model's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    operators: Vec<OperatorCount>,
    unranked: Vec<String>,
    initialised: Vec<String>,
}

/// An operator, and the number of its nodes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperatorCount {
    /// Empty for ONNX's own.
    pub domain: String,
    pub name: String,
    pub count: u64,
    /// Whether its cost is known from input shapes and types.
    pub bounded: bool,
}

impl ModelFacts {
    pub(super) fn new(
        operators: impl Iterator<Item = OperatorCount>,
        unranked: impl Iterator<Item = String>,
        initialised: impl Iterator<Item = String>,
    ) -> Self {
        let mut operators: Vec<_> = operators.collect();
        operators.sort();
        let (unranked, initialised) = (unranked.collect(), initialised.collect());
        Self { operators, unranked, initialised }
    }

    /// The operators of the model's graphs and of its functions.
    pub fn operators(&self) -> &[OperatorCount] {
        &self.operators
    }

    /// Whether the input or output of this name has an open number of dimensions.
    pub fn is_unranked(&self, name: &str) -> bool {
        self.unranked.iter().any(|unranked| unranked == name)
    }

    /// Whether the input of this name has a default value (an initialiser). If there are too many, none is recorded.
    pub fn is_initialised(&self, name: &str) -> bool {
        self.initialised.iter().any(|initialised| initialised == name)
    }

    /// Its inputs that have a default value. If there are too many, none is recorded.
    pub fn initialised(&self) -> &[String] {
        &self.initialised
    }

    /// Whether it has this operator.
    pub fn has(&self, domain: &str, name: &str) -> bool {
        self.operators.iter().any(|operator| operator.domain == domain && operator.name == name)
    }

    /// Whether the model's cost follows from input shapes and types: all its operators are known, and no value determines repetitions or
    /// sizes. The model may still be slow, and two shapes may have very different costs.
    pub fn is_bounded(&self) -> bool {
        self.operators.iter().all(|operator| operator.bounded)
    }
}
