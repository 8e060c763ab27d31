//! Repairs models that hosts would reject, when a publisher packs them: embeds weights from a file beside the model, and removes what wraps
//! probabilities in maps (`ZipMap`).

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::model::attribute::Value;
use super::model::external::{Beside, EmbedError};
use super::model::types::{Size, TypeKind, ValueInfo};
use super::model::walk::Origin;
use super::model::{EditError, ElementType, Graph, Model, Node};
use super::refused::{ModelRefused, Problem, quoted};

/// Maximum classes whose names a note lists.
const CLASSES_MAX: usize = 20;

/// The first opset whose `Identity` every backend supports.
const IDENTITY_OPSET: i64 = 13;

/// Why a model could not be repaired.
#[derive(Debug, thiserror::Error)]
pub enum CureError {
    #[error(transparent)]
    Embed(#[from] EmbedError),
    #[error(transparent)]
    Refused(#[from] ModelRefused),
    #[error(transparent)]
    Edit(#[from] EditError),
}

/// Repairs what can be repaired. Returns the changes, one line each: none if the model is as it was.
///
/// # Errors
/// [`CureError`] if external weights cannot be found, or if a node reads maps that a host cannot pass on.
pub fn cure(model: &mut Model, beside: &Beside<'_>) -> Result<Vec<String>, CureError> {
    let files = model.embed(beside)?;
    let mut notes: Vec<String> = files
        .iter()
        .map(|name| format!("weights of `{}` were put into the model", quoted(name)))
        .collect();
    let is_map = |node: &Node| node.is("ai.onnx.ml", "ZipMap");
    while let Some(index) = model.graph.nodes.iter().position(is_map) {
        notes.push(unwrap(model, index)?);
    }
    Ok(notes)
}

/// Removes a node that wraps a tensor in maps. The tensor gets the name of the maps.
fn unwrap(model: &mut Model, index: usize) -> Result<String, CureError> {
    let node = model.graph.nodes[index].clone();
    let ([wrapped], [maps]) = (&node.inputs[..], &node.outputs[..]) else {
        let (name, found) = (quoted(&node.name), "a `ZipMap` without one input and one output");
        return Err(ModelRefused::from(Problem::Node { name, found }).into());
    };
    if let Some(reader) = reader(&model.graph, maps) {
        let refused = ModelRefused::from(Problem::MapsRead { reader: reader.place() });
        return Err(refused.within(|| Some(node.place())).into());
    }
    let classes = classes(&node);
    let graph = &mut model.graph;
    let stated = |value: &ValueInfo| value.name == *maps;
    let tensor = chances(graph, wrapped, classes.len());
    for value in
        graph.outputs.iter_mut().chain(&mut graph.value_infos).filter(|value| stated(value))
    {
        value.ty = tensor.clone();
    }
    let is_computed = matches!(graph.origins().get(wrapped.as_str()), Some(Origin::Node(_)));
    let is_output = graph.outputs.iter().any(|output| output.name == *wrapped);
    if is_computed && !is_output && model.training.is_empty() {
        // What was known of the tensor under its old name is now known of the output.
        graph.value_infos.retain(|value| value.name != *wrapped && value.name != *maps);
        graph.replace(index, Vec::new())?;
        let output = graph.outputs.iter_mut().find(|output| output.name == *maps);
        let output = output.map(|output| std::mem::replace(&mut output.name, wrapped.clone()));
        if output.is_some() {
            model.rename(&BTreeMap::from([(wrapped.clone(), maps.clone())]))?;
        }
    } else {
        let same = Node::new("Identity", &[wrapped], &[maps]).named(node.name.clone());
        graph.replace(index, vec![same])?;
        model.import("", IDENTITY_OPSET);
    }
    Ok(note(maps, &classes))
}

/// The first node that reads a value, here or in a graph within.
fn reader<'g>(graph: &'g Graph, name: &str) -> Option<&'g Node> {
    graph.nodes.iter().find(|node| {
        let within = node.graphs().any(|graph| graph.free().contains(name));
        within || node.inputs.iter().any(|input| input == name)
    })
}

/// The classes, which are the columns of the tensor.
fn classes(node: &Node) -> Vec<String> {
    let values = node.attributes.iter().map(|attribute| &attribute.value);
    let classes = values.flat_map(|value| match value {
        Value::Ints(numbers) => numbers.iter().map(i64::to_string).collect(),
        Value::Texts(texts) => {
            texts.iter().map(|text| quoted(&String::from_utf8_lossy(text))).collect()
        }
        _ => Vec::new(),
    });
    classes.collect()
}

/// The type of the tensor in the maps: as it is stated, or one number for each class.
fn chances(graph: &Graph, wrapped: &str, classes: usize) -> Option<super::model::Type> {
    let stated = graph.stated_type(wrapped);
    let stated = stated.filter(|ty| matches!(ty.kind, TypeKind::Tensor(_, Some(_))));
    let columns = i64::try_from(classes).ok().filter(|classes| *classes > 0);
    let columns = columns.map_or(Size::Open, Size::Fixed);
    let assumed = ValueInfo::tensor("", ElementType::FLOAT, &[Size::Open, columns]).ty;
    stated.or(assumed)
}

fn note(output: &str, classes: &[String]) -> String {
    let mut note = format!(
        "output `{}` was a list of maps (`ZipMap`) and is now the tensor that they were made of",
        quoted(output)
    );
    let shown = classes.get(..CLASSES_MAX).unwrap_or(classes).join(", ");
    let more = if classes.len() > CLASSES_MAX { ", …" } else { "" };
    if !shown.is_empty() {
        let _ = write!(note, "; its columns are {shown}{more}");
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check;
    use crate::fit::fit;
    use crate::model::tensor::{Data, Tensor};
    use crate::model::{Attribute, Entry, Opset, Type};

    /// Four bytes of a file.
    fn outside(name: &str, location: &str, offset: &str) -> Tensor {
        let place = [("location", location), ("offset", offset), ("length", "4")];
        let place = place.iter().map(|(key, value)| Entry::new(*key, *value)).collect();
        let tensor = Tensor::of_bytes(name, ElementType::UINT8, &[4], &b""[..]);
        Tensor { data: Data::Outside(place), ..tensor }
    }

    fn beside(name: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok((name == "w.bin").then(|| vec![0, 1, 2, 3, 4, 5]))
    }

    fn cured(model: &mut Model) -> Result<Vec<String>, CureError> {
        cure(model, &beside)
    }

    #[test]
    fn weights_beside_the_model_are_put_into_it_wherever_a_tensor_is() {
        let mut graph = Graph::new("g");
        graph.initialisers.push(outside("w", "w.bin", "2"));
        let inner = Graph { initialisers: vec![outside("v", "./w.bin", "2")], ..Graph::new("h") };
        graph.nodes.push(Node::new("If", &["w"], &["y"]).with("then_branch", inner));
        graph
            .nodes
            .push(Node::new("Constant", &[], &["c"]).with("value", outside("", "w.bin", "2")));
        let mut model = Model::new(graph, 13);
        let refused = model.write().expect_err("outside");
        assert!(matches!(refused.problem(), Problem::External { .. }));
        let notes = cured(&mut model).expect("beside it");
        let bytes = model.write().expect("whole");
        check(&bytes).expect("whole");
        assert_eq!(bytes.windows(4).filter(|part| *part == [2, 3, 4, 5]).count(), 3);
        assert_eq!(notes, ["weights of `w.bin` were put into the model"]);
        assert_eq!(cured(&mut model).expect("nothing to do"), Vec::<String>::new());
    }

    #[test]
    fn weights_elsewhere_are_not_looked_for() {
        let of = |location: &str, offset: &str| {
            let mut graph = Graph::new("g");
            graph.initialisers.push(outside("w", location, offset));
            match cured(&mut Model::new(graph, 13)).expect_err(location) {
                CureError::Embed(error) => error,
                other => panic!("{location}: {other}"),
            }
        };
        for location in ["/etc/passwd", "../w.bin", "sub/w.bin", "..", "", "a\\b"] {
            assert!(matches!(of(location, "0"), EmbedError::Place { .. }), "{location}");
        }
        assert!(matches!(of("x.bin", "0"), EmbedError::Missing { .. }));
        for offset in ["3", "7", "99999999999999999999", "-1", "x"] {
            assert!(matches!(of("w.bin", offset), EmbedError::Short { .. }), "{offset}");
        }
    }

    #[test]
    fn weights_of_more_bytes_than_a_model_may_have_are_refused() {
        let mut graph = Graph::new("g");
        // All are the same part of one file, which is read once.
        for index in 0..=crate::MODEL_BYTES_MAX >> 20 {
            let whole = Data::Outside(vec![Entry::new("location", "w.bin")]);
            graph.initialisers.push(Tensor { data: whole, ..outside(&index.to_string(), "", "") });
        }
        let large = |_: &str| Ok(Some(vec![0; 1 << 20]));
        let refused = cure(&mut Model::new(graph, 13), &large).expect_err("too large");
        assert!(matches!(refused, CureError::Embed(EmbedError::TooLarge)), "{refused}");
    }

    /// A classifier as scikit-learn's exporter writes it.
    fn classifier(classes: impl Into<Value>) -> Model {
        let maps = Type::from(TypeKind::Map(ElementType::INT64, None));
        let maps = Type::from(TypeKind::Sequence(Some(Box::new(maps))));
        let mut graph = Graph::new("g");
        graph.inputs.push(ValueInfo::tensor("x", ElementType::FLOAT, &[Size::Open, 2.into()]));
        graph.nodes.push(Node::new("Softmax", &["x"], &["p"]));
        graph.nodes.push(
            Node::new("ZipMap", &["p"], &["out"])
                .named("Zip")
                .of("ai.onnx.ml")
                .with("classes", classes),
        );
        graph.outputs.push(ValueInfo {
            name: "out".into(),
            ty: Some(maps),
            ..ValueInfo::default()
        });
        let mut model = Model::new(graph, 13);
        model.import("ai.onnx.ml", 1);
        model
    }

    #[test]
    fn maps_of_probabilities_become_the_tensor_that_they_were_made_of() {
        let mut model = classifier(vec![3_i64, 5]);
        assert!(matches!(fit(&model).expect_err("maps").problem(), Problem::NotTensor { .. }));
        let notes = cured(&mut model).expect("cured");
        assert!(
            notes[0].contains("`out`") && notes[0].ends_with("its columns are 3, 5"),
            "{notes:?}"
        );
        assert_eq!(model.graph.nodes, [Node::new("Softmax", &["x"], &["out"])]);
        let output = &fit(&model).expect("tensors").outputs[0];
        assert_eq!(output.to_string(), "out: FLOAT[?, 2]");
        model.graph.check_order().expect("whole");
        assert_eq!(cured(&mut model).expect("nothing to do"), Vec::<String>::new());
        let mut texts = classifier(&["setosa", "a\nb"][..]);
        let notes = cured(&mut texts).expect("cured");
        assert!(notes[0].ends_with("its columns are setosa, a\\nb"), "{notes:?}");
    }

    #[test]
    fn a_tensor_that_has_to_keep_its_name_is_passed_on() {
        let input = |model: &mut Model| {
            model.graph.nodes.remove(0);
            model.graph.nodes[0].inputs[0] = "x".into();
        };
        let output = |model: &mut Model| {
            model.graph.outputs.push(ValueInfo { name: "p".into(), ..ValueInfo::default() });
        };
        let changes: [&dyn Fn(&mut Model); 2] = [&input, &output];
        for change in changes {
            let mut model = classifier(vec![3_i64, 5]);
            model.opsets = vec![Opset::new("ai.onnx.ml", 1)];
            change(&mut model);
            cured(&mut model).expect("cured");
            let last = model.graph.nodes.last().expect("a node");
            assert_eq!((&last.operator[..], &last.outputs[0][..]), ("Identity", "out"));
            assert_eq!(model.opset(""), Some(13));
            model.graph.check_order().expect("whole");
        }
    }

    #[test]
    fn maps_that_a_node_reads_are_refused_with_the_fix() {
        let mut model = classifier(vec![3_i64, 5]);
        let last = Node::new("SequenceLength", &["out"], &["n"]).named("many");
        model.graph.nodes.push(last.clone());
        let said = cured(&mut model).expect_err("read").to_string();
        assert!(said.contains("node `Zip` (ZipMap)") && said.contains("node `many`"), "{said}");
        assert!(said.contains("options={'zipmap': False}"), "{said}");
        let inner = Graph { nodes: vec![last], ..Graph::new("inner") };
        let branch = Attribute::new("then_branch", inner);
        model.graph.nodes.pop();
        model
            .graph
            .nodes
            .push(Node { attributes: vec![branch], ..Node::new("If", &["x"], &["z"]) });
        cured(&mut model).expect_err("read within");
    }
}
