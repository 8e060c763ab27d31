//! What is written is read again as it was; names stay whole.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use bytes::Bytes;
use half::f16;
use proptest::prelude::*;

use super::*;
use crate::limits::{DEPTH_MAX, Limit, MODEL_BYTES_MAX};
use crate::{Problem, WireError, check};

mod edits;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-d]", "[a-zé/:.]{1,8}"]
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let entry = (name(), name()).prop_map(|(key, value)| Entry::new(key, value));
    proptest::collection::vec(entry, 0..2)
}

fn tensor() -> impl Strategy<Value = Tensor> {
    let numbers = || proptest::collection::vec(any::<i64>(), 0..5);
    let content = prop_oneof![
        numbers().prop_map(|all| Tensor::new("", &[all.len() as i64], &all)),
        numbers().prop_map(|all| {
            let all: Vec<i8> = all.into_iter().map(|number| number as i8).collect();
            Tensor::new("", &[1, all.len() as i64], &all)
        }),
        numbers().prop_map(|all| {
            let all: Vec<f16> =
                all.into_iter().map(|number| f16::from_f64(number as f64)).collect();
            Tensor::new("", &[all.len() as i64], &all)
        }),
        proptest::collection::vec(any::<u8>(), 3).prop_map(|bytes| Tensor::of_bytes(
            "",
            ElementType::UINT4,
            &[5],
            bytes
        )),
        name().prop_map(|text| Tensor::of_texts("", &[2], &[&text, ""])),
        any::<u8>().prop_map(|byte| {
            let many = vec![byte; 5000];
            Tensor::new("", &[5000], &many)
        }),
    ];
    (name(), content, name(), entries()).prop_map(|(name, tensor, doc, metadata)| Tensor {
        name,
        doc,
        metadata,
        ..tensor
    })
}

fn sparse() -> impl Strategy<Value = SparseTensor> {
    (tensor(), tensor(), 0_i64..9).prop_map(|(values, indices, size)| SparseTensor {
        values,
        indices,
        dims: vec![size, 2],
    })
}

fn ty() -> impl Strategy<Value = Type> {
    let size = prop_oneof![
        Just(Size::Open),
        (-1_i64..9).prop_map(Size::Fixed),
        name().prop_map(Size::Named),
    ];
    let dimension = (size, name()).prop_map(|(size, denotation)| Dimension { size, denotation });
    let shape = proptest::option::of(proptest::collection::vec(dimension, 0..3)).boxed();
    let element = || (0..30).prop_map(ElementType);
    let plain = prop_oneof![
        Just(TypeKind::Unstated),
        (element(), shape.clone()).prop_map(|(of, shape)| TypeKind::Tensor(of, shape)),
        (element(), shape).prop_map(|(of, shape)| TypeKind::SparseTensor(of, shape)),
        (name(), name()).prop_map(|(domain, name)| TypeKind::Opaque(domain, name)),
    ];
    let plain = (plain, name()).prop_map(|(kind, denotation)| Type { kind, denotation });
    plain.prop_recursive(3, 4, 1, move |inner| {
        let inner = proptest::option::of(inner.prop_map(Box::new)).boxed();
        prop_oneof![
            inner.clone().prop_map(TypeKind::Sequence),
            inner.clone().prop_map(TypeKind::Optional),
            ((0..30).prop_map(ElementType), inner).prop_map(|(key, of)| TypeKind::Map(key, of)),
        ]
        .prop_map(Type::from)
    })
}

fn info() -> impl Strategy<Value = ValueInfo> {
    (name(), proptest::option::of(ty()), name(), entries())
        .prop_map(|(name, ty, doc, metadata)| ValueInfo { name, ty, doc, metadata })
}

/// A value without graphs. Not a number is unlike itself, so it is left out.
fn value() -> impl Strategy<Value = Value> {
    fn list<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
        proptest::collection::vec(of, 0..3)
    }
    let number = || any::<f32>().prop_filter("like itself", |number| !number.is_nan());
    let text = || proptest::collection::vec(any::<u8>(), 0..4).prop_map(Bytes::from);
    prop_oneof![
        number().prop_map(Value::Float),
        any::<i64>().prop_map(Value::Int),
        text().prop_map(Value::Text),
        tensor().prop_map(Value::Tensor),
        sparse().prop_map(|sparse| Value::SparseTensor(Box::new(sparse))),
        ty().prop_map(|ty| Value::Type(Box::new(ty))),
        list(number()).prop_map(Value::Floats),
        list(any::<i64>()).prop_map(Value::Ints),
        list(text()).prop_map(Value::Texts),
        list(tensor()).prop_map(Value::Tensors),
        list(sparse()).prop_map(Value::SparseTensors),
        list(ty()).prop_map(Value::Types),
        ("[a-z]{1,3}", 0_usize..15)
            .prop_map(|(name, kind)| Value::Of(name, AttributeKind::ALL[kind])),
    ]
}

fn node(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Node> {
    let names = || proptest::collection::vec(name(), 0..3);
    let attributes =
        (name(), value, name()).prop_map(|(name, value, doc)| vec![Attribute { name, value, doc }]);
    let words = (name(), "[A-Z][a-z]{0,5}", name(), name(), name());
    (words, names(), names(), attributes, entries()).prop_map(
        |((name, operator, domain, overload, doc), inputs, outputs, attributes, metadata)| Node {
            name,
            operator,
            // Those of other libraries are refused.
            domain: domain.replace(['.', ':', '/'], ""),
            overload,
            inputs,
            outputs,
            attributes,
            doc,
            metadata,
            devices: Vec::new(),
        },
    )
}

fn graph_of(nodes: Vec<Node>) -> impl Strategy<Value = Graph> {
    let infos = || proptest::collection::vec(info(), 0..2);
    let tensors = proptest::collection::vec(tensor(), 0..2);
    let annotations =
        (name(), entries()).prop_map(|(value, tensors)| vec![Annotation { value, tensors }]);
    let rest = (tensors, proptest::collection::vec(sparse(), 0..2), annotations, entries());
    (name(), infos(), infos(), infos(), rest).prop_map(
        move |(
            name,
            inputs,
            outputs,
            value_infos,
            (initialisers, sparse, annotations, metadata),
        )| {
            let nodes = nodes.clone();
            Graph {
                doc: name.clone(),
                name,
                nodes,
                initialisers,
                sparse_initialisers: sparse,
                inputs,
                outputs,
                value_infos,
                annotations,
                metadata,
            }
        },
    )
}

fn graph() -> impl Strategy<Value = Graph> {
    let flat = proptest::collection::vec(node(value()), 0..3).prop_flat_map(graph_of);
    flat.prop_recursive(2, 6, 2, |inner| {
        let value = prop_oneof![
            inner.clone().prop_map(Value::from),
            proptest::collection::vec(inner, 0..2).prop_map(Value::Graphs),
        ];
        proptest::collection::vec(node(value), 1..3).prop_flat_map(graph_of)
    })
}

fn model() -> impl Strategy<Value = Model> {
    let opsets = || {
        let opset =
            (name(), any::<i64>()).prop_map(|(domain, version)| Opset::new(domain, version));
        proptest::collection::vec(opset, 0..3)
    };
    let training = (proptest::option::of(graph()), entries())
        .prop_map(|(step, updated)| Training { step, updated, ..Training::default() });
    let function = (name(), proptest::collection::vec(node(value()), 0..2), opsets(), entries())
        .prop_map(|(name, nodes, opsets, metadata)| Function {
            domain: "own".into(),
            inputs: vec![name.clone()],
            attributes: vec![name.clone()],
            defaults: nodes.iter().flat_map(|node| node.attributes.clone()).collect(),
            doc: name.clone(),
            name: format!("F{name}"),
            nodes,
            opsets,
            metadata,
            ..Function::default()
        });
    let more =
        (proptest::option::of(training), proptest::option::of(function), opsets(), entries());
    (any::<i64>(), name(), graph(), more).prop_map(
        |(number, text, graph, (training, function, opsets, metadata))| Model {
            ir_version: number,
            opsets,
            producer_name: text.clone(),
            producer_version: text.clone(),
            domain: text.clone(),
            version: number,
            doc: text,
            graph,
            metadata,
            training: training.into_iter().collect(),
            functions: function.into_iter().collect(),
            devices: Vec::new(),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_written_is_read_again_as_it_was(model in model()) {
        let bytes = match model.write() {
            Ok(bytes) => bytes,
            // A model with a shape or a function that hosts refuse.
            Err(_) => return Ok(()),
        };
        let read = Model::read(bytes.clone()).expect("what is written is read");
        prop_assert_eq!(&read, &model);
        prop_assert_eq!(read.write().expect("again"), bytes, "the same model gives the same bytes");
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(model) = Model::read(bytes) {
            let _ = model.write();
        }
    }
}

#[test]
fn most_models_of_the_property_test_can_be_written() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let written = (0..50).filter(|_| {
        let tree = model().new_tree(&mut runner).expect("a model");
        tree.current().write().is_ok()
    });
    assert!(written.count() > 25);
}

/// A tensor as another writer spells it: the elements are numbers.
fn read_tensor(fields: &[Vec<u8>]) -> Result<Tensor, crate::ModelRefused> {
    let tensor = fields.concat();
    let graph = [crate::tests::bytes(5, &tensor)].concat();
    let model = [crate::tests::number(1, 8), crate::tests::bytes(7, &graph)].concat();
    Model::read(model).map(|model| model.graph.initialisers[0].clone())
}

#[test]
fn elements_are_the_same_however_a_file_has_them() {
    use crate::tests::{bytes, number};
    let floats: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|number| number.to_le_bytes()).collect();
    let head = |element: u64, count: u64| [number(1, count), number(2, element)].concat();
    let same = |fields: &[Vec<u8>]| read_tensor(fields).expect("read");
    let raw = same(&[head(1, 2), bytes(9, &floats)]);
    let packed = same(&[head(1, 2), bytes(4, &floats)]);
    let single: Vec<u8> =
        floats.chunks(4).flat_map(|four| [&[4 << 3 | 5][..], four].concat()).collect();
    assert_eq!((&raw, &raw), (&packed, &same(&[head(1, 2), single])));
    assert_eq!(*raw.elements::<f32>().expect("floats"), [1.5, -2.0]);
    let minus = u64::MAX;
    let int8 = same(&[head(3, 2), number(5, minus), number(5, 7)]);
    assert_eq!(*int8.elements::<i8>().expect("int8"), [-1, 7]);
    let int64 = same(&[head(7, 1), number(7, minus)]);
    assert_eq!(*int64.elements::<i64>().expect("int64"), [-1]);
    let half = same(&[head(10, 1), number(5, 0x3c00)]);
    assert_eq!(*half.elements::<f16>().expect("float16"), [f16::ONE]);
    let four = same(&[head(22, 3), number(5, 0x21), number(5, 0x03)]);
    assert_eq!(four.bytes().expect("4 bits each"), [0x21, 0x03]);
    let unsigned = same(&[head(12, 1), number(11, 9)]);
    assert_eq!(*unsigned.elements::<u32>().expect("uint32"), [9]);
    let truth = same(&[head(9, 2), number(5, 1), number(5, 0)]);
    assert_eq!(truth.bytes().expect("truth"), [1, 0]);
    let texts = same(&[head(8, 2), bytes(6, b"a"), bytes(6, b"")]);
    assert_eq!(texts.data, Data::Texts(vec![Bytes::from_static(b"a"), Bytes::new()]));
}

#[test]
fn elements_in_two_ways_and_attributes_with_two_values_are_refused() {
    use crate::tests::{bytes, number, text};
    let twice = read_tensor(&[number(1, 1), number(2, 3), bytes(9, &[1]), number(5, 1)]);
    assert!(matches!(twice.expect_err("twice").problem(), Problem::Elements { .. }));
    let other = read_tensor(&[number(1, 1), number(2, 3), bytes(9, &[1]), bytes(6, b"a")]);
    assert!(matches!(other.expect_err("texts").problem(), Problem::Elements { .. }));
    let attribute = |more: &[Vec<u8>]| {
        let attribute = bytes(5, &[text(1, "a"), more.concat()].concat());
        let node = bytes(1, &[text(3, "n"), text(4, "Op"), attribute].concat());
        let model = Model::read([number(1, 8), bytes(7, &node)].concat())?;
        Ok::<_, crate::ModelRefused>(model.graph.nodes[0].attributes[0].value.clone())
    };
    let (int, float) = (number(3, 5), [vec![2 << 3 | 5], 0_f32.to_le_bytes().to_vec()].concat());
    assert_eq!(attribute(&[int.clone(), number(20, 2)]).expect("one"), Value::Int(5));
    assert_eq!(attribute(&[int.clone(), float, number(20, 2)]).expect("a zero"), Value::Int(5));
    assert_eq!(
        attribute(std::slice::from_ref(&int)).expect("old files state no kind"),
        Value::Int(5)
    );
    assert_eq!(attribute(&[number(20, 7)]).expect("an empty list"), Value::Ints(Vec::new()));
    for wrong in [&[int.clone(), bytes(4, b"t"), number(20, 2)][..], &[number(20, 4)], &[]] {
        let refused = attribute(wrong).expect_err("not one value").to_string();
        assert!(
            refused.contains("node `n` (Op)") && refused.contains("attribute `a`"),
            "{refused}"
        );
    }
}

#[test]
fn elements_are_read_by_their_type_and_shape_only() {
    let tensor = Tensor::new("w", &[3], &[1_i32, 2]);
    let said = tensor.elements::<i32>().expect_err("too few").to_string();
    assert!(said.contains("`w` has 8 bytes, and its shape asks for 12"), "{said}");
    let said = tensor.elements::<f32>().expect_err("whole numbers").to_string();
    assert!(said.contains("type INT32, not FLOAT"), "{said}");
    let outside = Tensor { data: Data::Outside(Vec::new()), ..tensor };
    assert!(matches!(outside.elements::<i32>(), Err(TensorError::Outside { .. })));
    let texts = Tensor::of_texts("t", &[1], &["a"]);
    assert!(matches!(texts.bytes(), Err(TensorError::Type { .. })));
    // Bytes that are not aligned are copied.
    let bytes = Bytes::from(vec![0, 1, 0, 0, 0]).slice(1..);
    let odd = Tensor::of_bytes("o", ElementType::INT32, &[], bytes);
    assert_eq!(*odd.elements::<i32>().expect("one"), [1]);
    let huge = Tensor::of_bytes("h", ElementType::INT32, &[i64::MAX, 3], &b""[..]);
    assert!(matches!(huge.bytes(), Err(TensorError::Length { .. })));
}

#[test]
fn what_is_written_keeps_the_limits_of_what_is_read() {
    let deep = (0..DEPTH_MAX).fold(Graph::new("g"), |inner, _| Graph {
        nodes: vec![Node::new("If", &[], &[]).with("then_branch", inner)],
        ..Graph::new("g")
    });
    assert_eq!(*Model::new(deep, 13).write().expect_err("deep").problem(), Problem::Depth);
    let mut many = Graph::new("g");
    many.nodes =
        vec![Node::new("Relu", &[], &[]); usize::try_from(Limit::Nodes.max()).expect("fits") + 1];
    let refused = Model::new(many, 13).write().expect_err("many");
    assert_eq!(*refused.problem(), Problem::TooMany(Limit::Nodes));
    // The same bytes many times: nothing of that size is allocated.
    let weights = Bytes::from(vec![0; 1 << 20]);
    let mut large = Graph::new("g");
    for index in 0..=MODEL_BYTES_MAX >> 20 {
        let name = index.to_string();
        large.initialisers.push(Tensor::of_bytes(
            name,
            ElementType::UINT8,
            &[1 << 20],
            weights.clone(),
        ));
    }
    let refused = Model::new(large, 13).write().expect_err("large");
    assert!(matches!(refused.problem(), Problem::TooLarge { .. }));
    let mut short = Graph::new("g");
    short.initialisers.push(Tensor::new("w", &[3], &[1_i32, 2]));
    let refused = Model::new(short, 13).write().expect_err("short");
    assert_eq!(*refused.problem(), Problem::Claim { claimed: 3, held: 2 });
    assert_eq!(
        *Model::read(vec![0x0b]).expect_err("a group").problem(),
        Problem::Wire(WireError::Group)
    );
}

#[test]
fn weights_are_not_copied_until_they_are_written() {
    let mut graph = Graph::new("g");
    graph.initialisers.push(Tensor::new("w", &[5000], &[7_u8; 5000]));
    let bytes = Bytes::from(Model::new(graph, 13).write().expect("written"));
    let model = Model::read(bytes.clone()).expect("read");
    let weights = model.graph.initialisers[0].bytes().expect("there");
    let inside = bytes.as_ptr_range();
    assert!(inside.contains(&weights.as_ptr()));
    check(&bytes).expect("sound");
}

#[test]
fn metadata_and_opsets_are_looked_up_and_set() {
    let mut model = Model::new(Graph::new("g"), 13);
    model.import("ai.onnx", 20);
    model.import("ai.onnx.ml", 3);
    assert_eq!(
        (model.opset(""), model.opset("ai.onnx"), model.opset("x")),
        (Some(13), Some(13), None)
    );
    model.set_metadata("a", "1");
    model.set_metadata("a", "2");
    assert_eq!((model.metadata("a"), model.metadata("b")), (Some("2"), None));
    assert_eq!(model.opsets.len(), 2);
}
