use super::*;
use crate::model::types::Dimension;
use crate::model::{Entry, Function, Tensor};

fn model() -> Model {
    let mut graph = Graph::new("g");
    let row = [Size::Named("rows".into()), 4.into()];
    graph.inputs.push(ValueInfo::tensor("x", ElementType::FLOAT, &row));
    graph.nodes.push(Node::new("Relu", &["x"], &["y"]).named("n"));
    graph.outputs.push(ValueInfo::tensor("y", ElementType::FLOAT, &[Size::Open, 4.into()]));
    Model::new(graph, 13)
}

fn refused(change: impl FnOnce(&mut Model)) -> String {
    let mut model = model();
    change(&mut model);
    fit(&model).expect_err("must be refused").to_string()
}

#[test]
fn what_callers_give_and_get_is_shown() {
    let mut model = model();
    let has_default = ValueInfo::tensor("scale", ElementType::FLOAT, &[]);
    model.graph.inputs.insert(0, has_default);
    model.graph.initialisers.push(Tensor::new("scale", &[], &[2.0_f32]));
    model.graph.outputs.push(ValueInfo { name: "z".into(), ..ValueInfo::default() });
    let unranked = Type::from(TypeKind::Tensor(ElementType::INT64, None));
    model.graph.outputs.push(ValueInfo {
        name: "any".into(),
        ty: Some(unranked),
        ..ValueInfo::default()
    });
    let fitted = fit(&model).expect("fits");
    let shown: Vec<String> = fitted.inputs.iter().map(Port::to_string).collect();
    assert_eq!(shown, ["x: FLOAT[rows, 4]", "scale: FLOAT[] (has a default)"]);
    let shown: Vec<String> = fitted.outputs.iter().map(Port::to_string).collect();
    let unknown = "z: of a type that is known only when it is computed";
    assert_eq!(shown, ["y: FLOAT[?, 4]", unknown, "any: INT64 of any shape"]);
    let dynamic: Vec<bool> =
        fitted.inputs.iter().chain(&fitted.outputs).map(Port::is_dynamic).collect();
    assert_eq!(dynamic, [true, false, true, true, true]);
    assert_eq!(fitted.opsets, [Opset::new("ai.onnx", 13)]);
    let negative = Dimension { size: Size::Fixed(-1), ..Dimension::default() };
    assert_eq!(negative.size.to_string(), "?");
}

#[test]
fn versions_that_no_host_computes_are_refused_with_the_newest() {
    let said = refused(|model| model.ir_version = IR_VERSION_MAX + 1);
    assert!(said.contains("export it with `ir_version=13`"), "{said}");
    let said = refused(|model| model.opsets[0].version = OPSET_MAX + 1);
    assert!(said.contains("opset 27 of domain `ai.onnx`, newer than 26"), "{said}");
    let said = refused(|model| model.opsets.push(Opset::new("ai.onnx.ml", ML_OPSET_MAX + 1)));
    assert!(said.contains("opset 6 of domain `ai.onnx.ml`"), "{said}");
    let said = refused(|model| model.opsets.clear());
    assert!(said.contains("onnx.helper.make_opsetid"), "{said}");
    let mut newest = model();
    (newest.ir_version, newest.opsets[0].version) = (IR_VERSION_MAX, OPSET_MAX);
    newest.import("ai.onnx.ml", ML_OPSET_MAX);
    fit(&newest).expect("the newest");
}

#[test]
fn operators_that_no_host_has_are_refused_with_the_node() {
    let said = refused(|model| model.graph.nodes[0].operator = "Invented".into());
    assert!(
        said.starts_with("node `n` (Invented): operator `Invented` is not one of ONNX's"),
        "{said}"
    );
    let said = refused(|model| model.graph.nodes[0].domain = "my.own".into());
    assert!(said.contains("`my.own.Relu` is not one"), "{said}");
    let said = refused(|model| model.graph.nodes[0].operator = "Gelu".into());
    assert!(said.contains("`Gelu` came with opset 20, and the model is of opset 13"), "{said}");
    let said = refused(|model| model.graph.nodes[0].operator = "Upsample".into());
    assert!(said.contains("`Upsample` went with opset 10") && said.contains("`Resize`"), "{said}");
    let said = refused(|model| {
        model.graph.nodes[0] = Node::new("TreeEnsemble", &["x"], &["y"]).of("ai.onnx.ml");
        model.import("ai.onnx.ml", 3);
    });
    assert!(said.contains("`ai.onnx.ml.TreeEnsemble` came with opset 5"), "{said}");
    // Within graphs and functions too.
    let bad = || Node::new("Invented", &[], &["z"]).named("deep");
    let said = refused(|model| {
        let inner = Graph { nodes: vec![bad()], ..Graph::new("inner") };
        model.graph.nodes.push(Node::new("If", &["x"], &["w"]).with("then_branch", inner));
    });
    assert!(said.contains("node `deep` (Invented)"), "{said}");
    let function = || Function {
        name: "Relu2".into(),
        domain: "my.own".into(),
        opsets: vec![Opset::new("", 13)],
        ..Function::default()
    };
    let said = refused(|model| {
        model.functions.push(Function { nodes: vec![bad()], ..function() });
    });
    assert!(said.contains("function `Relu2`: node `deep`"), "{said}");
    let mut own = model();
    own.functions.push(Function { nodes: vec![Node::new("Relu", &["a"], &["b"])], ..function() });
    own.graph.nodes[0] = Node::new("Relu2", &["x"], &["y"]).of("my.own");
    fit(&own).expect("the model defines it");
    own.graph.nodes[0] = Node::new("FusedConv", &["x"], &["y"]).of("com.microsoft");
    fit(&own).expect("a backend may have it");
}

#[test]
fn values_that_hosts_do_not_carry_are_refused_with_the_fix() {
    let tensor = || Type::tensor(ElementType::FLOAT, &[]);
    let map = || Type::from(TypeKind::Map(ElementType::INT64, Some(Box::new(tensor()))));
    let list = |of: Type| Type::from(TypeKind::Sequence(Some(Box::new(of))));
    for (ty, found, fix) in [
        (list(map()), "is a list of maps", "options={'zipmap': False}"),
        (map(), "is a map", "two tensors"),
        (list(tensor()), "is a sequence", "ConcatFromSequence"),
        (TypeKind::Optional(None).into(), "is an optional value", "OptionalGetElement"),
        (TypeKind::Opaque("a".into(), "b".into()).into(), "is an opaque value", "a tensor"),
        (TypeKind::SparseTensor(ElementType::FLOAT, None).into(), "is a sparse tensor", "dense"),
        (Type::tensor(ElementType(14), &[]), "elements of type COMPLEX64", "`Cast`"),
        (Type::tensor(ElementType(17), &[]), "elements of type FLOAT8E4M3FN", "`Cast`"),
        (Type::tensor(ElementType(99), &[]), "an unknown type", "`Cast`"),
    ] {
        let said = refused(|model| model.graph.outputs[0].ty = Some(ty.clone()));
        assert!(said.starts_with("output `y`: it ") && said.contains(found), "{said}");
        assert!(said.contains(fix), "{said}");
        let said = refused(|model| model.graph.inputs[0].ty = Some(ty));
        assert!(said.starts_with("input `x`: it "), "{said}");
    }
    let mut carried = model();
    for element in CARRIED {
        carried.graph.outputs[0].ty = Some(Type::tensor(element, &[Size::Open]));
        fit(&carried).expect("carried");
    }
    carried.metadata.push(Entry::new("key", "value"));
    fit(&carried).expect("metadata says nothing of it");
}
