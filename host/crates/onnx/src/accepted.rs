//! Values that a model is sure to accept, for whoever makes up inputs.
//!
//! A `OneHotEncoder` whose `zeros` is 0 fails for every category that it does not list. scikit-learn's exporter writes it so by default.

use crate::model::attribute::Value;
use crate::model::walk::{Origin, Scope};
use crate::model::{Model, Node};

/// Maximum values that one input gets: an encoder a column.
const ACCEPTED_MAX: usize = 1024;

/// Longest category that inputs are made of, in bytes. A longer one is not used: inputs repeat it.
pub const CATEGORY_BYTES_MAX: usize = 256;

/// Maximum values that are looked at, for all encoders together. The graph is foreign, and joins can name a value many times.
const STEPS_MAX: usize = 10_000;

/// A listed category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Category {
    Text(Vec<u8>),
    Number(i64),
}

/// A category that the model lists for an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub input: String,
    /// The place in the last dimension; `None` is every place.
    pub column: Option<usize>,
    pub category: Category,
}

/// The first category of each encoder that fails for others, for each input that it is traced to.
pub fn accepted(model: &Model) -> Vec<Accepted> {
    let scope = Scope::of_graph(&model.graph, None);
    let (mut found, mut steps) = (Vec::new(), STEPS_MAX);
    for node in &model.graph.nodes {
        let Some(category) = first_category(node) else { continue };
        let mut waiting: Vec<(&str, Option<usize>)> =
            node.inputs.iter().take(1).map(|name| (name.as_str(), None)).collect();
        while let Some((name, column)) = waiting.pop() {
            if found.len() == ACCEPTED_MAX {
                return found;
            }
            if matches!(scope.find(name), Some((_, Origin::Input))) {
                let category = category.clone();
                found.push(Accepted { input: name.to_owned(), column, category });
            } else if let Some(node) = scope.source(name) {
                let before = before(&scope, node, column);
                let looked_at = waiting.len();
                waiting.extend(before.take(steps));
                steps -= waiting.len() - looked_at;
            }
        }
    }
    found
}

fn first_category(node: &Node) -> Option<Category> {
    let fails = node.attribute("zeros").and_then(Value::as_int) == Some(0);
    if !node.is("ai.onnx.ml", "OneHotEncoder") || !fails {
        return None;
    }
    match (node.attribute("cats_strings"), node.attribute("cats_int64s")) {
        (Some(Value::Texts(texts)), _) => {
            let text = texts.iter().find(|text| text.len() <= CATEGORY_BYTES_MAX)?;
            Some(Category::Text(text.to_vec()))
        }
        (_, Some(Value::Ints(numbers))) => Some(Category::Number(*numbers.first()?)),
        _ => None,
    }
}

/// The values that a node's output is taken from unchanged, each with the column.
fn before<'m>(
    scope: &Scope<'m>,
    node: &'m Node,
    column: Option<usize>,
) -> impl Iterator<Item = (&'m str, Option<usize>)> {
    let passes = ["Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"];
    let is_choice = node.is("", "Gather") || node.is("ai.onnx.ml", "ArrayFeatureExtractor");
    let (names, column): (&[String], _) = if node.is("", "Concat") {
        // Columns of tables are joined one by one, so a column's place is that of its input.
        let chosen = column.and_then(|column| node.inputs.get(column..=column));
        (chosen.unwrap_or(&node.inputs), None)
    } else if is_choice && let [data, places] = &*node.inputs {
        match only_place(scope, places) {
            Some(place) => (std::slice::from_ref(data), Some(place)),
            None => (&[], None),
        }
    } else if passes.iter().any(|passing| node.is("", passing)) {
        (node.inputs.get(..1).unwrap_or_default(), column)
    } else {
        (&[], None)
    };
    names.iter().map(move |name| (name.as_str(), column))
}

/// The place that a constant with one element names.
fn only_place(scope: &Scope<'_>, name: &str) -> Option<usize> {
    let places = scope.constant(name).filter(|places| places.count() == Some(1))?;
    usize::try_from(*places.elements::<i64>().ok()?.first()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ElementType, Graph, Size, Tensor, ValueInfo};

    fn encoder(input: &str, output: &str, zeros: i64) -> Node {
        Node::new("OneHotEncoder", &[input], &[output])
            .of("ai.onnx.ml")
            .with("cats_strings", Value::Texts(vec!["large".into(), "small".into()]))
            .with("zeros", zeros)
    }

    fn table(nodes: Vec<Node>) -> Model {
        let mut graph = Graph::new("table");
        let text = ElementType::STRING;
        graph.inputs.push(ValueInfo::tensor("table", text, &[Size::Open, Size::Fixed(3)]));
        graph.inputs.push(ValueInfo::tensor("size", text, &[Size::Open, Size::Fixed(1)]));
        graph.initialisers.push(Tensor::new("second", &[1], &[1_i64]));
        graph.nodes = nodes;
        Model::new(graph, 17)
    }

    fn large(input: &str, column: Option<usize>) -> Accepted {
        Accepted { input: input.into(), column, category: Category::Text(b"large".to_vec()) }
    }

    #[test]
    fn an_encoder_is_traced_to_the_column_that_it_reads() {
        let extract = Node::new("ArrayFeatureExtractor", &["table", "second"], &["column"]);
        let model = table(vec![
            extract.of("ai.onnx.ml"),
            Node::new("Identity", &["column"], &["same"]),
            encoder("same", "codes", 0),
        ]);
        assert_eq!(accepted(&model), [large("table", Some(1))]);
    }

    #[test]
    fn a_joined_column_is_that_input() {
        let model = table(vec![
            Node::new("Concat", &["table", "size"], &["joined"]).with("axis", 1_i64),
            Node::new("Gather", &["joined", "second"], &["column"]).with("axis", 1_i64),
            encoder("column", "codes", 0),
        ]);
        assert_eq!(accepted(&model), [large("size", None)]);
    }

    #[test]
    fn an_encoder_that_takes_any_category_needs_no_example() {
        assert_eq!(accepted(&table(vec![encoder("size", "codes", 1)])), []);
    }

    #[test]
    fn long_categories_and_many_uses_cost_little() {
        let long = "x".repeat(CATEGORY_BYTES_MAX + 1);
        let mut lists = encoder("size", "codes", 0);
        lists.attributes[0].value = Value::Texts(vec![long.into()]);
        assert_eq!(accepted(&table(vec![lists])), []);
        let many = vec!["table"; 100_000];
        let model = table(vec![
            Node::new("Concat", &many, &["joined"]).with("axis", 1_i64),
            encoder("joined", "codes", 0),
        ]);
        assert_eq!(accepted(&model).len(), ACCEPTED_MAX);
    }

    #[test]
    fn a_circle_ends_the_trace() {
        let model = table(vec![
            Node::new("Identity", &["two"], &["one"]),
            Node::new("Concat", &["one", "one"], &["two"]).with("axis", 1_i64),
            encoder("one", "codes", 0),
        ]);
        assert_eq!(accepted(&model), []);
    }
}
