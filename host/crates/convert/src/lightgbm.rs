//! LightGBM's text files, version 2 to 4. Nothing is executed.
//!
//! Thresholds are double precision, rows are single: a threshold is rounded down, which changes no comparison. A value not above a threshold
//! goes left, a listed category goes left, and what is missing (NaN, or zero where the model says so) goes where the node says.

use std::collections::BTreeMap;

use super::budget::Budget;
use super::error::{ConvertError, broken, unsupported};
use super::trees::{
    Ensemble, FEATURES_MAX, Link, TARGETS_MAX, Test, Tree, TreeNode, Whole, member, rounded_down,
};

const WHAT: &str = "this LightGBM model";

/// Values this near to zero are zero to LightGBM.
const ZERO: f32 = 1e-35;

/// Maximum categories that a node lists.
const CATEGORIES_MAX: usize = 1 << 16;

type Section<'t> = BTreeMap<&'t str, &'t str>;

/// A model from its text.
///
/// # Errors
/// [`ConvertError`] if it is damaged, or has what ONNX has not.
pub(crate) fn read(bytes: &[u8], budget: Budget) -> Result<Ensemble, ConvertError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| broken(WHAT, format!("byte {}", error.valid_up_to()), "it is not text"))?;
    let mut lines = text.lines();
    if lines.next().map(str::trim) != Some("tree") {
        return Err(broken(WHAT, "line 1", "it is not `tree`, so it is not a saved Booster"));
    }
    let mut sections: Vec<Section<'_>> = vec![Section::new()];
    let mut is_complete = false;
    for line in lines {
        if line.starts_with("end of trees") {
            is_complete = true;
            break;
        }
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        if name == "Tree" {
            sections.push(Section::new());
        }
        if let Some(section) = sections.last_mut() {
            section.insert(name.trim(), value.trim());
        }
    }
    if !is_complete {
        return Err(broken(WHAT, "its end", "`end of trees` is missing, so it was cut"));
    }
    let header = sections.remove(0);
    ensemble(&header, &sections, budget)
}

fn whole(header: &Section<'_>, name: &str, max: usize) -> Result<usize, ConvertError> {
    let text = header.get(name).copied().unwrap_or_default();
    let number = text.parse().ok().filter(|number| *number <= max);
    number.ok_or_else(|| {
        broken(WHAT, format!("`{name}`"), format!("`{text}` is no number up to {max}"))
    })
}

fn ensemble(
    header: &Section<'_>,
    sections: &[Section<'_>],
    mut budget: Budget,
) -> Result<Ensemble, ConvertError> {
    let features = whole(header, "max_feature_idx", FEATURES_MAX)? + 1;
    let sums = whole(header, "num_tree_per_iteration", TARGETS_MAX)?.max(1);
    let link = objective(header.get("objective").copied().unwrap_or_default(), sums)?;
    let mut made = Ensemble {
        features,
        trees: Vec::new(),
        base: vec![0.0; sums],
        scale: 1.0,
        link,
        categories: Vec::new(),
        whole: Whole::TowardsZero,
        producer: "LightGBM",
    };
    if header.contains_key("average_output") {
        #[expect(clippy::cast_precision_loss, reason = "rounds are few")]
        let rounds = (sections.len() / sums).max(1) as f32;
        made.scale = 1.0 / rounds;
    }
    for (number, section) in sections.iter().enumerate() {
        let nodes = Fields { section, number }.tree(&mut made.categories, &mut budget)?;
        let tree = Tree { nodes, target: number % sums };
        let checked = tree.checked(features);
        made.trees.push(checked.map_err(|why| broken(WHAT, format!("Tree={number}"), why))?);
    }
    made.categories.sort_unstable();
    made.categories.dedup();
    Ok(made)
}

fn objective(text: &str, sums: usize) -> Result<Link, ConvertError> {
    let mut words = text.split(' ');
    let name = words.next().unwrap_or_default();
    let parameters: BTreeMap<&str, &str> =
        words.clone().filter_map(|w| w.split_once(':')).collect();
    let scale = || match parameters.get("sigmoid").map(|scale| scale.parse::<f32>()) {
        None => Ok(1.0),
        Some(Ok(scale)) if scale.is_finite() && scale > 0.0 => Ok(scale),
        Some(_) => Err(broken(WHAT, "`objective`", "`sigmoid` is no number above 0")),
    };
    let link = match name {
        "regression" if words.any(|word| word == "sqrt") => Link::Square,
        "" | "custom" | "regression" | "regression_l1" | "huber" | "fair" | "quantile" | "mape"
        | "lambdarank" | "rank_xendcg" => Link::Identity,
        "poisson" | "gamma" | "tweedie" => Link::Exp,
        "binary" => Link::Binary(scale()?),
        "multiclass" => Link::Softmax,
        "multiclassova" => Link::OneVersusAll(scale()?),
        "cross_entropy" => Link::Sigmoid(1.0),
        "cross_entropy_lambda" => Link::Softplus,
        _ => {
            let fix = "export it with `onnxmltools.convert_lightgbm`, or predict with `raw_score` and apply your own function";
            return Err(unsupported(format!("the objective `{name}`"), "`objective`", fix));
        }
    };
    let is_single = matches!(link, Link::Binary(_));
    let is_several = matches!(link, Link::Softmax | Link::OneVersusAll(_));
    if is_single && sums != 1 || is_several && sums < 2 {
        let why = format!("`{name}` with {sums} trees a round");
        return Err(broken(WHAT, "`num_tree_per_iteration`", why));
    }
    Ok(link)
}

/// The lines of one tree.
struct Fields<'s, 't> {
    section: &'s Section<'t>,
    number: usize,
}

impl Fields<'_, '_> {
    fn broken(&self, why: impl Into<String>) -> ConvertError {
        broken(WHAT, format!("Tree={}", self.number), why)
    }

    fn list<T: std::str::FromStr>(&self, name: &str, count: usize) -> Result<Vec<T>, ConvertError> {
        let text = self.section.get(name).copied().unwrap_or_default();
        let numbers: Option<Vec<T>> =
            text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
        let numbers = numbers.ok_or_else(|| self.broken(format!("`{name}` has no numbers")))?;
        if numbers.len() != count {
            let why = format!("`{name}` has {} numbers for {count} nodes", numbers.len());
            return Err(self.broken(why));
        }
        Ok(numbers)
    }

    /// Inner nodes first, then leaves.
    fn tree(
        &self,
        categories: &mut Vec<usize>,
        budget: &mut Budget,
    ) -> Result<Vec<TreeNode>, ConvertError> {
        if self.section.get("is_linear") == Some(&"1") {
            let fix = "train without `linear_tree`";
            let place = format!("Tree={}", self.number);
            return Err(unsupported("a tree with linear models as leaves", place, fix));
        }
        let text = self.section.get("num_leaves").copied().unwrap_or_default();
        // A line has two bytes a leaf at least, so the file bounds what is allocated here.
        let longest = self.section.get("leaf_value").map_or(0, |line| line.len());
        let leaves: usize =
            text.parse().ok().filter(|leaves| (1..=longest).contains(leaves)).ok_or_else(|| {
                self.broken(format!("`num_leaves` is `{text}`, which its values do not bear out"))
            })?;
        budget.nodes(leaves.saturating_mul(2) - 1)?;
        let values: Vec<f64> = self.list("leaf_value", leaves)?;
        #[expect(clippy::cast_possible_truncation, reason = "ONNX's leaves are single precision")]
        let leaf = |value: &f64| TreeNode::Leaf(*value as f32);
        let inner = leaves - 1;
        let mut nodes = vec![TreeNode::Leaf(0.0); inner];
        nodes.extend(values.iter().map(leaf));
        if inner == 0 {
            return Ok(nodes);
        }
        let features: Vec<usize> = self.list("split_feature", inner)?;
        let thresholds: Vec<f64> = self.list("threshold", inner)?;
        let decisions: Vec<u8> = self.list("decision_type", inner)?;
        let lefts: Vec<i64> = self.list("left_child", inner)?;
        let rights: Vec<i64> = self.list("right_child", inner)?;
        let listed = self.categories()?;
        for node in 0..inner {
            let child = |child: i64| {
                // Leaves are -1, -2, …
                let place = if child < 0 {
                    usize::try_from(!child).ok().map(|leaf| inner.saturating_add(leaf))
                } else {
                    usize::try_from(child).ok().filter(|child| *child < inner)
                };
                place
                    .filter(|place| *place < inner + leaves)
                    .ok_or_else(|| self.broken(format!("there is no child {child}")))
            };
            let (left, right) = (child(lefts[node])?, child(rights[node])?);
            let (feature, threshold) = (features[node], thresholds[node]);
            if decisions[node] & 1 == 1 {
                let values = self.listed(&listed, threshold)?;
                // Each becomes a node. Many nodes may name the same part of the list.
                budget.nodes(values.len())?;
                categories.push(feature);
                // What is missing is in no category.
                member(&mut nodes, node, feature, &values, (false, left, right));
                continue;
            }
            let missing_yes = self.missing(node, decisions[node], threshold)?;
            let test = Test::Leq(rounded_down(threshold));
            nodes[node] = TreeNode::Split { feature, test, missing_yes, yes: left, no: right };
        }
        Ok(nodes)
    }

    /// Whether NaN goes left.
    fn missing(&self, node: usize, decision: u8, threshold: f64) -> Result<bool, ConvertError> {
        let default_left = decision & 2 != 0;
        let zero_left = 0.0 <= threshold;
        match (decision >> 2) & 3 {
            // NaN is zero.
            0 => Ok(zero_left),
            // So are zero and what is near; a comparison says the same unless the default is the other side.
            1 if default_left == zero_left && threshold.abs() > f64::from(ZERO) => Ok(default_left),
            1 => {
                let fix = "train without `zero_as_missing`, and mark missing values with NaN";
                let place = format!("Tree={}, node {node}", self.number);
                Err(unsupported("zero as a missing value", place, fix))
            }
            2 => Ok(default_left),
            _ => Err(self.broken(format!("`decision_type` {decision} is not known"))),
        }
    }

    /// The boundaries and bits of all categories of the tree.
    fn categories(&self) -> Result<[Vec<u64>; 2], ConvertError> {
        let list = |name: &str| -> Result<Vec<u64>, ConvertError> {
            let text = self.section.get(name).copied().unwrap_or_default();
            let numbers: Option<Vec<u64>> =
                text.split_ascii_whitespace().map(|word| word.parse().ok()).collect();
            numbers.ok_or_else(|| self.lacks_categories())
        };
        Ok([list("cat_boundaries")?, list("cat_threshold")?])
    }

    fn lacks_categories(&self) -> ConvertError {
        self.broken("its categories are not in the file")
    }

    /// The categories of a node: bits from one boundary to the next.
    fn listed(&self, all: &[Vec<u64>; 2], threshold: f64) -> Result<Vec<u32>, ConvertError> {
        let [boundaries, words] = all;
        let lacks = || self.lacks_categories();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked here")]
        let at = if (0.0..1e9).contains(&threshold) { threshold as usize } else { usize::MAX };
        let bound = |at: Option<usize>| usize::try_from(*boundaries.get(at?)?).ok();
        let (begin, end) = bound(Some(at)).zip(bound(at.checked_add(1))).ok_or_else(lacks)?;
        let words = words.get(begin..end).ok_or_else(lacks)?;
        if words.len() > CATEGORIES_MAX / 32 {
            let fix = "number the categories from 0";
            let place = format!("Tree={}", self.number);
            return Err(unsupported(format!("categories above {CATEGORIES_MAX}"), place, fix));
        }
        let bits = (0_u32..).zip(words).flat_map(|(place, word)| {
            (0..32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| place * 32 + bit)
        });
        Ok(bits.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../../../tests/fixtures/convert/lgb_categories.txt");

    #[test]
    fn more_nodes_than_allowed_are_refused() {
        let whole = read(MODEL, Budget::default()).expect("sound");
        let nodes: usize = whole.trees.iter().map(|tree| tree.nodes.len()).sum();
        let error = read(MODEL, Budget::of(0, nodes - 1)).expect_err("too many").to_string();
        assert!(error.contains(&format!("more than {} nodes", nodes - 1)), "{error}");
    }
}
