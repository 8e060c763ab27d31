//! Sums of decision trees, as XGBoost and LightGBM have them, and as ONNX has them.
//!
//! The sum is one `TreeEnsembleRegressor` (ai.onnx.ml 3). What turns it into probabilities are operators of ONNX's own, so that no rule of the
//! older operator's `post_transform` changes a value. A categorical split is a chain of equalities with one common child.

use hospes_onnx::model::tensor::ElementType;
use hospes_onnx::model::{Graph, Model, Node, Size, Tensor, ValueInfo};

use super::error::ConvertError;

/// Maximum nodes of all trees together.
pub const TREE_NODES_MAX: usize = 20_000_000;

/// Maximum features of a row.
pub const FEATURES_MAX: usize = 1 << 20;

/// Maximum classes or targets.
pub const TARGETS_MAX: usize = 10_000;

/// A node of a tree. Children are places in the same tree.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum TreeNode {
    Split { feature: usize, test: Test, missing_yes: bool, yes: usize, no: usize },
    Leaf(f32),
}

/// What a feature is compared with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Test {
    /// Below.
    Lt(f32),
    /// Below or equal.
    Leq(f32),
    Eq(f32),
}

/// A tree. The first node is its root.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<TreeNode>,
    /// The class or target to which its leaf is added.
    pub(crate) target: usize,
}

/// What becomes of the sums.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Link {
    /// Numbers as they are.
    Identity,
    /// `exp(x)`.
    Exp,
    /// `1 / (1 + exp(-scale·x))`, as a number.
    Sigmoid(f32),
    /// The same, as the probability of the second of two classes.
    Binary(f32),
    /// 1 if above 0, else 0, as two classes.
    Hinge,
    /// `exp(x)` of all classes, divided by their sum.
    Softmax,
    /// A sigmoid for each class.
    OneVersusAll(f32),
    /// `ln(1 + exp(x))`.
    Softplus,
    /// `x·|x|`.
    Square,
}

/// How the values of categorical features are made whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    Down,
    TowardsZero,
}

/// A whole model of trees.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ensemble {
    pub(crate) features: usize,
    pub(crate) trees: Vec<Tree>,
    /// Added to each target's sum; one a target.
    pub(crate) base: Vec<f32>,
    /// Sums are multiplied by it: for averages.
    pub(crate) scale: f32,
    pub(crate) link: Link,
    /// Features that are categories, sorted.
    pub(crate) categories: Vec<usize>,
    pub(crate) whole: Whole,
    pub(crate) producer: &'static str,
}

/// The next float that is not above: `x <= limit` says the same of both for every float `x`.
pub(crate) fn rounded_down(limit: f64) -> f32 {
    #[expect(clippy::cast_possible_truncation, reason = "corrected below")]
    let near = limit as f32;
    if near.is_finite() && f64::from(near) <= limit {
        return near;
    }
    if near.is_infinite() && f64::from(near) == limit {
        return near;
    }
    near.next_down()
}

/// Adds `feature is one of values` to a tree whose node `at` is to be it, with these children.
pub(crate) fn member(
    nodes: &mut Vec<TreeNode>,
    at: usize,
    feature: usize,
    values: &[u32],
    (missing_yes, yes, no): (bool, usize, usize),
) {
    let mut at = at;
    for (place, value) in values.iter().enumerate() {
        let last = place + 1 == values.len();
        let next = if last { no } else { nodes.len() };
        #[expect(clippy::cast_precision_loss, reason = "categories are below 2^24")]
        let test = Test::Eq(*value as f32);
        nodes[at] = TreeNode::Split { feature, test, missing_yes, yes, no: next };
        if !last {
            at = nodes.len();
            nodes.push(TreeNode::Leaf(0.0));
        }
    }
    if values.is_empty() {
        // Nothing is a member; only what is missing may go there.
        let test = Test::Lt(f32::NEG_INFINITY);
        nodes[at] = TreeNode::Split { feature, test, missing_yes, yes, no };
    }
}

impl Tree {
    /// Checks that its children are in it and lead nowhere back, that features exist, and drops what the root does not reach.
    ///
    /// # Errors
    /// What is wrong, with the node's place.
    pub(crate) fn checked(self, features: usize) -> Result<Self, String> {
        /// Not seen, being walked, or done, with its new place.
        #[derive(Clone, Copy, PartialEq)]
        enum Seen {
            No,
            Open,
            Done,
        }
        if self.nodes.is_empty() {
            return Err("it has no node".into());
        }
        let mut seen = vec![Seen::No; self.nodes.len()];
        // Depth first without recursion: a node is pushed twice, to open and to close it.
        let mut stack = vec![(0_usize, false)];
        let mut order = Vec::new();
        while let Some((at, closing)) = stack.pop() {
            let state = seen.get_mut(at).ok_or_else(|| format!("there is no node {at}"))?;
            if closing {
                *state = Seen::Done;
                continue;
            }
            match *state {
                Seen::Open => return Err(format!("node {at} is below itself")),
                Seen::Done => continue,
                Seen::No => *state = Seen::Open,
            }
            order.push(at);
            stack.push((at, true));
            if let TreeNode::Split { feature, yes, no, test, .. } = self.nodes[at] {
                if feature >= features {
                    return Err(format!("node {at} asks for feature {feature} of {features}"));
                }
                let (Test::Lt(value) | Test::Leq(value) | Test::Eq(value)) = test;
                if value.is_nan() {
                    return Err(format!("node {at} compares with NaN"));
                }
                stack.push((no, false));
                stack.push((yes, false));
            }
        }
        let mut places = vec![0; self.nodes.len()];
        for (new, old) in order.iter().enumerate() {
            places[*old] = new;
        }
        let moved = |old: &usize| match self.nodes[*old] {
            TreeNode::Split { feature, test, missing_yes, yes, no } => {
                TreeNode::Split { feature, test, missing_yes, yes: places[yes], no: places[no] }
            }
            leaf @ TreeNode::Leaf(_) => leaf,
        };
        let nodes = order.iter().map(moved).collect();
        Ok(Self { nodes, target: self.target })
    }
}

/// The attributes of the operator, column by column.
#[derive(Default)]
struct Columns {
    trees: Vec<i64>,
    nodes: Vec<i64>,
    features: Vec<i64>,
    modes: Vec<&'static str>,
    values: Vec<f32>,
    yes: Vec<i64>,
    no: Vec<i64>,
    missing: Vec<i64>,
    leaf_trees: Vec<i64>,
    leaf_nodes: Vec<i64>,
    leaf_targets: Vec<i64>,
    leaf_values: Vec<f32>,
}

fn number(at: usize) -> i64 {
    i64::try_from(at).expect("invariant: within the limits above")
}

impl Columns {
    fn add(&mut self, tree: usize, node: usize, what: &TreeNode, (target, scale): (usize, f32)) {
        let (feature, mode, value, yes, no, missing) = match what {
            TreeNode::Split { feature, test, missing_yes, yes, no } => {
                let (mode, value) = match test {
                    Test::Lt(value) => ("BRANCH_LT", *value),
                    Test::Leq(value) => ("BRANCH_LEQ", *value),
                    Test::Eq(value) => ("BRANCH_EQ", *value),
                };
                (*feature, mode, value, *yes, *no, *missing_yes)
            }
            TreeNode::Leaf(_) => (0, "LEAF", 0.0, 0, 0, false),
        };
        self.trees.push(number(tree));
        self.nodes.push(number(node));
        self.features.push(number(feature));
        self.modes.push(mode);
        self.values.push(value);
        self.yes.push(number(yes));
        self.no.push(number(no));
        self.missing.push(missing.into());
        if let TreeNode::Leaf(value) = what {
            self.leaf_trees.push(number(tree));
            self.leaf_nodes.push(number(node));
            self.leaf_targets.push(number(target));
            self.leaf_values.push(value * scale);
        }
    }

    fn node(self, input: &str, base: &[f32]) -> Node {
        Node::new("TreeEnsembleRegressor", &[input], &["sums"])
            .of("ai.onnx.ml")
            .named("trees")
            .with("n_targets", number(base.len()))
            .with("aggregate_function", "SUM")
            .with("post_transform", "NONE")
            .with("base_values", base.to_vec())
            .with("nodes_treeids", self.trees)
            .with("nodes_nodeids", self.nodes)
            .with("nodes_featureids", self.features)
            .with("nodes_modes", self.modes.as_slice())
            .with("nodes_values", self.values)
            .with("nodes_truenodeids", self.yes)
            .with("nodes_falsenodeids", self.no)
            .with("nodes_missing_value_tracks_true", self.missing)
            .with("target_treeids", self.leaf_trees)
            .with("target_nodeids", self.leaf_nodes)
            .with("target_ids", self.leaf_targets)
            .with("target_weights", self.leaf_values)
    }
}

impl Ensemble {
    /// The model in ONNX: `input` (rows × features, float) to `label` and `probabilities`, or to `variable`.
    ///
    /// # Errors
    /// [`ConvertError::Written`].
    pub(crate) fn onnx(&self) -> Result<Vec<u8>, ConvertError> {
        let mut columns = Columns::default();
        for (number, tree) in self.trees.iter().enumerate() {
            for (place, node) in tree.nodes.iter().enumerate() {
                columns.add(number, place, node, (tree.target, self.scale));
            }
        }
        let mut graph = Graph::new("trees");
        let rows = || Size::Named("N".into());
        let shape = [rows(), Size::Fixed(number(self.features))];
        graph.inputs.push(ValueInfo::tensor("input", ElementType::FLOAT, &shape));
        let input = self.make_whole(&mut graph);
        graph.nodes.push(columns.node(input, &self.base));
        self.finish(&mut graph);
        let mut model = Model::new(graph, 17);
        model.import("ai.onnx.ml", 3);
        model.producer_name = format!("hospes, from {}", self.producer);
        model.write().map_err(|refused| ConvertError::Written(Box::new(refused)))
    }

    /// Categories are whole numbers; the libraries cut others. Returns the name of what the trees read.
    fn make_whole(&self, graph: &mut Graph) -> &'static str {
        if self.categories.is_empty() {
            return "input";
        }
        let is_category: Vec<u8> = (0..self.features)
            .map(|at| self.categories.binary_search(&at).is_ok().into())
            .collect();
        let dims = [1, number(self.features)];
        let mask = Tensor::of_bytes("is_category", ElementType::BOOL, &dims, is_category);
        graph.initialisers.push(mask);
        graph.nodes.push(operator("Floor", &["input"], "down"));
        let mut whole = "down";
        if self.whole == Whole::TowardsZero {
            graph.initialisers.push(constant("nothing", 0.0));
            graph.nodes.push(operator("Ceil", &["input"], "up"));
            graph.nodes.push(operator("Less", &["input", "nothing"], "is_negative"));
            graph.nodes.push(operator("Where", &["is_negative", "up", "down"], "whole"));
            whole = "whole";
        }
        graph.nodes.push(operator("Where", &["is_category", whole, "input"], "values"));
        "values"
    }

    /// From `sums` to the outputs.
    fn finish(&self, graph: &mut Graph) {
        let mut classes = self.base.len();
        match self.link {
            Link::Identity => graph.nodes.push(operator("Identity", &["sums"], "variable")),
            Link::Exp => graph.nodes.push(operator("Exp", &["sums"], "variable")),
            Link::Softplus => graph.nodes.push(operator("Softplus", &["sums"], "variable")),
            Link::Square => {
                graph.nodes.push(operator("Abs", &["sums"], "size"));
                graph.nodes.push(operator("Mul", &["sums", "size"], "variable"));
            }
            Link::Sigmoid(scale) => sigmoid(graph, scale, "variable"),
            Link::OneVersusAll(scale) => sigmoid(graph, scale, "probabilities"),
            Link::Softmax => {
                let node = operator("Softmax", &["sums"], "probabilities");
                graph.nodes.push(node.with("axis", 1_i64));
            }
            Link::Binary(_) | Link::Hinge => {
                if let Link::Binary(scale) = self.link {
                    sigmoid(graph, scale, "second");
                } else {
                    graph.initialisers.push(constant("nothing", 0.0));
                    graph.nodes.push(operator("Greater", &["sums", "nothing"], "is_second"));
                    let to = i64::from(ElementType::FLOAT.0);
                    let node = operator("Cast", &["is_second"], "second");
                    graph.nodes.push(node.with("to", to));
                }
                graph.initialisers.push(constant("one", 1.0));
                graph.nodes.push(operator("Sub", &["one", "second"], "first"));
                let both = operator("Concat", &["first", "second"], "probabilities");
                graph.nodes.push(both.with("axis", 1_i64));
                classes = 2;
            }
        }
        let shape = [Size::Named("N".into()), Size::Fixed(number(classes))];
        if self.link.is_of_classes() {
            let label = operator("ArgMax", &["probabilities"], "label");
            graph.nodes.push(label.with("axis", 1_i64).with("keepdims", 0_i64));
            graph.outputs.push(ValueInfo::tensor("label", ElementType::INT64, &shape[..1]));
            graph.outputs.push(ValueInfo::tensor("probabilities", ElementType::FLOAT, &shape));
        } else {
            graph.outputs.push(ValueInfo::tensor("variable", ElementType::FLOAT, &shape));
        }
    }
}

fn operator(name: &str, inputs: &[&str], output: &str) -> Node {
    Node::new(name, inputs, &[output])
}

fn constant(name: &str, value: f32) -> Tensor {
    Tensor::new(name, &[1, 1], &[value])
}

fn sigmoid(graph: &mut Graph, scale: f32, output: &str) {
    let mut from = "sums";
    if (scale - 1.0).abs() > f32::EPSILON {
        graph.initialisers.push(constant("scale", scale));
        graph.nodes.push(operator("Mul", &["sums", "scale"], "scaled"));
        from = "scaled";
    }
    graph.nodes.push(operator("Sigmoid", &[from], output));
}

impl Link {
    fn is_of_classes(self) -> bool {
        matches!(self, Self::Binary(_) | Self::Hinge | Self::Softmax | Self::OneVersusAll(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_rounded_down_only() {
        for limit in [0.1, -0.1, 0.450_000_002_980_232_3, 4.75, 1e-60, -1e-60, 1e300, -1e300, 0.0] {
            let float = rounded_down(limit);
            assert!(f64::from(float) <= limit, "{limit} {float}");
            assert!(f64::from(float.next_up()) > limit, "{limit} {float}");
        }
        assert!(rounded_down(f64::INFINITY).is_infinite());
    }

    fn split(yes: usize, no: usize) -> TreeNode {
        TreeNode::Split { feature: 0, test: Test::Lt(1.0), missing_yes: false, yes, no }
    }

    #[test]
    fn trees_that_lead_back_or_out_are_refused_and_shared_children_are_not() {
        let leaf = TreeNode::Leaf(1.0);
        let of = |nodes: &[TreeNode]| Tree { nodes: nodes.to_vec(), target: 0 }.checked(1);
        assert_eq!(of(&[]), Err("it has no node".into()));
        assert_eq!(of(&[split(0, 1), leaf]), Err("node 0 is below itself".into()));
        assert_eq!(of(&[split(1, 2), leaf]), Err("there is no node 2".into()));
        assert_eq!(of(&[split(1, 2), split(0, 2), leaf]), Err("node 0 is below itself".into()));
        let shared = of(&[split(1, 2), leaf, split(1, 3), leaf, leaf]).expect("sound");
        assert_eq!(shared.nodes.len(), 4, "what is not reached is dropped");
    }
}
