//! What is known of a model that was walked.

/// What a model consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelFacts {
    operators: Vec<OperatorCount>,
    unranked: Vec<String>,
    initialised: Vec<String>,
}

/// An operator, and how many nodes of the model compute it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperatorCount {
    /// Empty for ONNX's own.
    pub domain: String,
    pub name: String,
    pub count: u64,
    /// Whether what it costs is known from the shapes and types that go in.
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

    /// The operators that its nodes compute, in the model's graphs and in the functions that it defines.
    pub fn operators(&self) -> &[OperatorCount] {
        &self.operators
    }

    /// Whether the model leaves it open how many dimensions its input or output of this name has.
    pub fn is_unranked(&self, name: &str) -> bool {
        self.unranked.iter().any(|unranked| unranked == name)
    }

    /// Whether the model has a value (an initialiser) for its input of this name. Of many such inputs none is remembered.
    pub fn is_initialised(&self, name: &str) -> bool {
        self.initialised.iter().any(|initialised| initialised == name)
    }

    /// Whether it has this operator.
    pub fn has(&self, domain: &str, name: &str) -> bool {
        self.operators.iter().any(|operator| operator.domain == domain && operator.name == name)
    }

    /// Whether what the model costs is known from the shapes and types that go in: it has no operator that repeats or grows by what a
    /// value says, and none that nobody looked at. It may still take long, and two shapes may cost very differently.
    pub fn is_bounded(&self) -> bool {
        self.operators.iter().all(|operator| operator.bounded)
    }
}
