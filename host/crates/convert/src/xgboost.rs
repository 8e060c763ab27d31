//! XGBoost's own files: JSON and UBJSON, versions 1 to 3. Nothing is executed.
//!
//! `base_score` lies in the space of predictions, and since 3.1 there may be one a class. A float below a threshold goes left, NaN where the
//! node says, a listed category right.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::budget::{Budget, json_values};
use super::error::{ConvertError, broken, refused, unsupported};
use super::trees::{
    Ensemble, FEATURES_MAX, Link, TARGETS_MAX, Test, Tree, TreeNode, Whole, member,
};
use super::ubjson;

const WHAT: &str = "this XGBoost model";

#[derive(Deserialize)]
struct File {
    learner: Learner,
}

#[derive(Deserialize)]
struct Learner {
    learner_model_param: Parameters,
    objective: Objective,
    gradient_booster: Value,
    #[serde(default)]
    attributes: Value,
}

#[derive(Deserialize)]
struct Parameters {
    base_score: String,
    num_class: String,
    num_feature: String,
    #[serde(default)]
    num_target: Option<String>,
}

#[derive(Deserialize)]
struct Objective {
    name: String,
}

#[derive(Deserialize)]
struct Booster {
    trees: Vec<RawTree>,
    tree_info: Vec<i64>,
    #[serde(default)]
    iteration_indptr: Vec<usize>,
}

#[derive(Deserialize)]
struct RawTree {
    left_children: Vec<i64>,
    right_children: Vec<i64>,
    split_indices: Vec<i64>,
    split_conditions: Vec<f64>,
    default_left: Vec<Flag>,
    #[serde(default)]
    split_type: Vec<i64>,
    #[serde(default)]
    categories: Vec<i64>,
    #[serde(default)]
    categories_nodes: Vec<i64>,
    #[serde(default)]
    categories_segments: Vec<i64>,
    #[serde(default)]
    categories_sizes: Vec<i64>,
    #[serde(default)]
    tree_param: TreeParameters,
}

#[derive(Deserialize, Default)]
struct TreeParameters {
    #[serde(default)]
    size_leaf_vector: String,
}

/// Versions before 1.7 wrote `true`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Bool(bool),
    Number(i64),
}

impl Flag {
    fn is_set(&self) -> bool {
        matches!(self, Flag::Bool(true)) || matches!(self, Flag::Number(number) if *number != 0)
    }
}

/// A model from JSON or UBJSON.
///
/// # Errors
/// [`ConvertError`] if it is damaged, or has what ONNX has not.
pub(crate) fn read(bytes: &[u8], budget: Budget) -> Result<Ensemble, ConvertError> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(0);
    // Both begin with a brace. In JSON a name in quotes follows, in UBJSON a type.
    let next = bytes.get(start + 1..).unwrap_or_default();
    let is_text = next.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'"');
    let value: Value = if is_text {
        if json_values(bytes) > budget.values_max() {
            return Err(budget.too_many_values(WHAT));
        }
        serde_json::from_slice(bytes)
            .map_err(|error| broken(WHAT, "its JSON", error.to_string()))?
    } else {
        ubjson::read(bytes, budget.values_max()).map_err(|fault| match fault {
            ubjson::Fault::Broken(why) => broken(WHAT, "its UBJSON", why),
            ubjson::Fault::Values => budget.too_many_values(WHAT),
        })?
    };
    if value.get("learner").is_none() {
        let fix = "save the model with `booster.save_model(\"model.json\")`, or name another library with `--from`";
        return Err(refused("this is not a model of XGBoost: it has no `learner`", fix));
    }
    let file: File = typed(value, "`learner`")?;
    ensemble(file.learner, budget)
}

fn typed<T: serde::de::DeserializeOwned>(value: Value, place: &str) -> Result<T, ConvertError> {
    serde_json::from_value(value).map_err(|error| broken(WHAT, place, error.to_string()))
}

fn whole(text: &str, place: &str, max: usize) -> Result<usize, ConvertError> {
    let number = text.parse().ok().filter(|number: &usize| *number <= max);
    number.ok_or_else(|| broken(WHAT, place, format!("`{text}` is no number up to {max}")))
}

fn ensemble(learner: Learner, mut budget: Budget) -> Result<Ensemble, ConvertError> {
    let parameters = &learner.learner_model_param;
    let features = whole(&parameters.num_feature, "`num_feature`", FEATURES_MAX)?;
    let classes = whole(&parameters.num_class, "`num_class`", TARGETS_MAX)?;
    let targets = match &parameters.num_target {
        Some(text) => whole(text, "`num_target`", TARGETS_MAX)?,
        None => 1,
    };
    let sums = classes.max(targets).max(1);
    let (link, margin) = objective(&learner.objective.name)?;
    if link == Link::Softmax && classes < 2 {
        return Err(broken(WHAT, "`num_class`", format!("{classes} classes of `multi:…`")));
    }
    if matches!(link, Link::Binary(_) | Link::Hinge) && sums != 1 {
        let fix = "train one model a target, and convert each";
        return Err(unsupported(format!("{sums} binary targets at once"), "`num_target`", fix));
    }
    let base = base(&parameters.base_score, sums, margin)?;
    let (booster, weights) = booster(learner.gradient_booster)?;
    if booster.tree_info.len() != booster.trees.len() {
        let why = format!("{} entries for {} trees", booster.tree_info.len(), booster.trees.len());
        return Err(broken(WHAT, "`tree_info`", why));
    }
    let used = used(&booster, &learner.attributes);
    let mut made = Ensemble {
        features,
        trees: Vec::new(),
        base,
        scale: 1.0,
        link,
        categories: Vec::new(),
        whole: Whole::Down,
        producer: "XGBoost",
    };
    for (at, raw) in booster.trees.iter().enumerate().take(used) {
        let target = booster.tree_info.get(at).and_then(|target| usize::try_from(*target).ok());
        let target = target.filter(|target| *target < sums);
        let target = target.ok_or_else(|| {
            broken(WHAT, format!("`tree_info[{at}]`"), format!("it is not below {sums}"))
        })?;
        let weight = match &weights {
            None => 1.0,
            Some(weights) => *weights.get(at).ok_or_else(|| {
                broken(WHAT, "`weight_drop`", format!("it has none for tree {at}"))
            })?,
        };
        let raw = Numbered { raw, number: at };
        let nodes = raw.nodes(weight, &mut made.categories, &mut budget)?;
        let checked = Tree { nodes, target }.checked(features);
        made.trees.push(checked.map_err(|why| broken(WHAT, format!("tree {at}"), why))?);
    }
    made.categories.sort_unstable();
    made.categories.dedup();
    Ok(made)
}

/// Makes a sum of a score.
type Margin = fn(f64) -> f64;

/// What becomes of the sums, and how `base_score` becomes one of them.
fn objective(name: &str) -> Result<(Link, Margin), ConvertError> {
    let same: Margin = |score| score;
    let logit: Margin = |score| (score / (1.0 - score)).ln();
    let logarithm: Margin = f64::ln;
    Ok(match name {
        "reg:squarederror"
        | "reg:linear"
        | "reg:squaredlogerror"
        | "reg:pseudohubererror"
        | "reg:absoluteerror"
        | "reg:quantileerror"
        | "rank:pairwise"
        | "rank:ndcg"
        | "rank:map" => (Link::Identity, same),
        "reg:logistic" => (Link::Sigmoid(1.0), logit),
        "binary:logistic" => (Link::Binary(1.0), logit),
        "binary:logitraw" => (Link::Identity, logit),
        "binary:hinge" => (Link::Hinge, same),
        "multi:softmax" | "multi:softprob" => (Link::Softmax, same),
        "count:poisson" | "reg:gamma" | "reg:tweedie" | "survival:cox" | "survival:aft" => {
            (Link::Exp, logarithm)
        }
        _ => {
            let fix = "export it with `onnxmltools.convert_xgboost`, or convert it as `binary:logitraw` and apply your own function";
            return Err(unsupported(
                format!("the objective `{name}`"),
                "`learner.objective.name`",
                fix,
            ));
        }
    })
}

/// One for each sum. It is `5E-1`, or since 3.1 a list.
fn base(text: &str, sums: usize, margin: Margin) -> Result<Vec<f32>, ConvertError> {
    let list = text.trim().trim_start_matches('[').trim_end_matches(']');
    let scores: Option<Vec<f64>> = list.split(',').map(|score| score.trim().parse().ok()).collect();
    let mut scores = scores
        .ok_or_else(|| broken(WHAT, "`base_score`", format!("`{text}` is no list of numbers")))?;
    if let [one] = scores[..] {
        scores = vec![one; sums];
    }
    if scores.len() != sums {
        let why = format!("{} values for {sums} sums", scores.len());
        return Err(broken(WHAT, "`base_score`", why));
    }
    #[expect(clippy::cast_possible_truncation, reason = "XGBoost computes in single precision")]
    let base: Vec<f32> = scores.iter().map(|score| margin(*score) as f32).collect();
    if base.iter().any(|base| !base.is_finite()) {
        let why = format!("`{text}` is outside what the objective can predict");
        return Err(broken(WHAT, "`base_score`", why));
    }
    Ok(base)
}

/// The trees, and what DART weighs them with.
fn booster(mut value: Value) -> Result<(Booster, Option<Vec<f32>>), ConvertError> {
    let place = "`gradient_booster`";
    let name = value.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    match name.as_str() {
        "gbtree" => Ok((typed(value["model"].take(), "`gradient_booster.model`")?, None)),
        "dart" => {
            let weights = typed(value["weight_drop"].take(), "`weight_drop`")?;
            let model = value["gbtree"]["model"].take();
            Ok((typed(model, "`gradient_booster.gbtree.model`")?, Some(weights)))
        }
        "gblinear" => {
            let fix = "a linear model of scikit-learn is the same; train that and convert it";
            Err(unsupported("the booster `gblinear`", place, fix))
        }
        _ => Err(broken(WHAT, place, format!("there is no booster `{name}`"))),
    }
}

/// How many trees predict: scikit-learn's classes stop at the best round.
fn used(booster: &Booster, attributes: &Value) -> usize {
    let all = booster.trees.len();
    if attributes.get("scikit_learn").is_none() {
        return all;
    }
    let best = attributes.get("best_iteration").and_then(Value::as_str);
    let best = best.and_then(|best| best.parse::<usize>().ok());
    let end = best.and_then(|best| booster.iteration_indptr.get(best.checked_add(1)?));
    end.map_or(all, |end| all.min(*end))
}

/// A tree of the file, and which one it is.
struct Numbered<'r> {
    raw: &'r RawTree,
    number: usize,
}

impl Numbered<'_> {
    fn broken(&self, node: usize, why: impl Into<String>) -> ConvertError {
        broken(WHAT, format!("tree {}, node {node}", self.number), why)
    }

    fn nodes(
        &self,
        weight: f32,
        categories: &mut Vec<usize>,
        budget: &mut Budget,
    ) -> Result<Vec<TreeNode>, ConvertError> {
        let Self { raw, number } = self;
        let size = raw.tree_param.size_leaf_vector.parse().unwrap_or(1);
        if size > 1_u64 {
            let fix = "train with `multi_strategy=\"one_output_per_tree\"`";
            return Err(unsupported(
                "a tree with vectors as leaves",
                format!("tree {number}"),
                fix,
            ));
        }
        let count = raw.left_children.len();
        let lengths = [
            raw.right_children.len(),
            raw.split_indices.len(),
            raw.split_conditions.len(),
            raw.default_left.len(),
        ];
        if lengths.iter().any(|length| *length != count) {
            return Err(broken(WHAT, format!("tree {number}"), "its lists differ in length"));
        }
        budget.nodes(count)?;
        let listed: BTreeMap<i64, usize> =
            raw.categories_nodes.iter().enumerate().map(|(at, node)| (*node, at)).collect();
        let mut nodes = vec![TreeNode::Leaf(0.0); count];
        for node in 0..count {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "they are single precision in the file"
            )]
            let condition = raw.split_conditions[node] as f32;
            if raw.left_children[node] == -1 {
                nodes[node] = TreeNode::Leaf(condition * weight);
                continue;
            }
            let place = |value: i64, what: &str| {
                let place = usize::try_from(value);
                place.map_err(|_| self.broken(node, format!("{value} is no {what}")))
            };
            let left = place(raw.left_children[node], "child")?;
            let right = place(raw.right_children[node], "child")?;
            // Since 1.0 the highest bit is elsewhere.
            let feature = place(raw.split_indices[node], "feature")?;
            let left_if_missing = raw.default_left[node].is_set();
            if raw.split_type.get(node) == Some(&1) {
                let at = i64::try_from(node).ok().and_then(|node| listed.get(&node));
                let values = self.categories(node, at.copied(), budget)?;
                categories.push(feature);
                member(&mut nodes, node, feature, &values, (!left_if_missing, right, left));
            } else {
                nodes[node] = TreeNode::Split {
                    feature,
                    test: Test::Lt(condition),
                    missing_yes: left_if_missing,
                    yes: left,
                    no: right,
                };
            }
        }
        Ok(nodes)
    }

    /// The categories of a node, which go right. `at` is its place among the nodes that have some.
    fn categories(
        &self,
        node: usize,
        at: Option<usize>,
        budget: &mut Budget,
    ) -> Result<Vec<u32>, ConvertError> {
        let raw = self.raw;
        let slice = || {
            let begin = usize::try_from(*raw.categories_segments.get(at?)?).ok()?;
            let size = usize::try_from(*raw.categories_sizes.get(at?)?).ok()?;
            raw.categories.get(begin..begin.checked_add(size)?)
        };
        let lacks = || self.broken(node, "its categories are not in the file");
        let values: &[i64] = slice().ok_or_else(lacks)?;
        // Each becomes a node. Many nodes may name the same part of the list.
        budget.nodes(values.len())?;
        let value = |value: &i64| u32::try_from(*value).ok().filter(|value| *value < 1 << 24);
        values.iter().map(value).collect::<Option<_>>().ok_or_else(lacks)
    }
}

/// Whether these bytes look like one of XGBoost's old binary files.
pub(crate) fn refuse_old(bytes: &[u8]) -> Result<(), ConvertError> {
    if bytes.starts_with(b"binf") || bytes.starts_with(b"bs64") {
        let fix =
            "load it with XGBoost below 3.1 and save it: `booster.save_model(\"model.json\")`";
        return Err(refused("this is XGBoost's old binary format", fix));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODEL: &[u8] = include_bytes!("../../../../tests/fixtures/convert/xgb_categories.json");

    #[track_caller]
    fn refused(budget: Budget) -> String {
        read(MODEL, budget).expect_err("too much").to_string()
    }

    #[test]
    fn more_nodes_or_values_than_allowed_are_refused() {
        let whole = read(MODEL, Budget::default()).expect("sound");
        let nodes: usize = whole.trees.iter().map(|tree| tree.nodes.len()).sum();
        let said = refused(Budget::of(usize::MAX, nodes - 1));
        assert!(said.contains(&format!("more than {} nodes", nodes - 1)), "{said}");
        let said = refused(Budget::of(100, usize::MAX));
        assert!(said.contains("more than 100 values"), "{said}");
    }

    #[test]
    fn a_short_list_of_categories_does_not_become_endless_nodes() {
        let text = std::str::from_utf8(MODEL).expect("text");
        let mut model: Value = serde_json::from_str(text).expect("JSON");
        let tree = &mut model["learner"]["gradient_booster"]["model"]["trees"][0];
        let count = tree["left_children"].as_array().expect("a list").len();
        // Every node that splits names the same thousand categories.
        tree["split_type"] = vec![1; count].into();
        tree["categories"] = (0..1000).collect::<Vec<_>>().into();
        tree["categories_nodes"] = (0..count).collect::<Vec<_>>().into();
        tree["categories_segments"] = vec![0; count].into();
        tree["categories_sizes"] = vec![1000; count].into();
        let bytes = serde_json::to_vec(&model).expect("JSON");
        let error = read(&bytes, Budget::of(usize::MAX, 2000)).expect_err("too many").to_string();
        assert!(error.contains("more than 2000 nodes"), "{error}");
    }
}
