//! Each pass against what it promises: the numbers, what tract computes, and models that it leaves as they are.

use hospes_onnx::Model;
use hospes_onnx::model::walk::Scope;
use hospes_onnx::model::{ElementType, Graph, Node, Size, Tensor, ValueInfo};
use tract_onnx::prelude::{Framework as _, InferenceModelExt as _, IntoRunnable as _, tvec};

use super::*;
use crate::array::{Array, constant};
use crate::quantise::{FULL, Range, SAFE};

/// Numbers that look random, from -1 to 1, the same each time.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_769).wrapping_add(1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn weights(name: &str, dims: &[i64], seed: u32) -> Tensor {
    let count: i64 = dims.iter().product();
    Tensor::new(name, dims, &numbers(count as usize, seed))
}

fn value(name: &str, dims: &[i64]) -> ValueInfo {
    let sizes: Vec<Size> = dims.iter().map(|size| Size::Fixed(*size)).collect();
    ValueInfo::tensor(name, ElementType::FLOAT, &sizes)
}

/// A picture of 2 channels through two convolutions and a sum, then a matrix product.
fn net() -> Model {
    let mut graph = Graph::new("net");
    graph.inputs = vec![value("x", &[1, 2, 8, 8])];
    graph.outputs = vec![value("y", &[1, 10])];
    graph.initialisers = vec![
        weights("w1", &[16, 2, 3, 3], 1),
        weights("b1", &[16], 2),
        weights("w2", &[16, 16, 1, 1], 3),
        weights("w3", &[10, 1024], 4),
        weights("b3", &[10], 5),
    ];
    let pads = hospes_onnx::model::Value::Ints(vec![1, 1, 1, 1]);
    graph.nodes = vec![
        Node::new("Conv", &["x", "w1", "b1"], &["c1"]).with("pads", pads),
        Node::new("Relu", &["c1"], &["r1"]),
        Node::new("Conv", &["r1", "w2"], &["c2"]),
        Node::new("Add", &["c2", "r1"], &["sum"]),
        Node::new("Flatten", &["sum"], &["flat"]),
        Node::new("Gemm", &["flat", "w3", "b3"], &["y"]).with("transB", 1_i64),
    ];
    Model::new(graph, 13)
}

/// A product with a large matrix.
fn product() -> Model {
    let mut graph = Graph::new("product");
    graph.inputs = vec![value("x", &[3, 64])];
    graph.outputs = vec![value("y", &[3, 40])];
    graph.initialisers = vec![weights("w", &[64, 40], 6)];
    graph.nodes = vec![Node::new("MatMul", &["x", "w"], &["y"])];
    Model::new(graph, 17)
}

/// What tract computes for numbers of this seed, all outputs.
fn computed(model: &Model, seed: u32) -> Vec<Vec<f32>> {
    let input = &model.graph.inputs[0];
    let shape = input.ty.as_ref().and_then(hospes_onnx::model::Type::shape).expect("stated");
    let sizes = shape.iter().map(|size| match size.size {
        Size::Fixed(size) => size as usize,
        _ => 1,
    });
    let sizes: Vec<usize> = sizes.collect();
    let given = numbers(sizes.iter().product(), seed);
    let given = tract_onnx::prelude::Tensor::from_shape(&sizes, &given).expect("fits");
    let bytes = model.write().expect("whole");
    let plan = tract_onnx::onnx().model_for_read(&mut &bytes[..]).expect("read");
    let plan = plan.into_optimized().expect("typed").into_runnable().expect("planned");
    let outputs = plan.run(tvec!(given.into())).expect("computed");
    let floats = outputs.iter().map(|output| {
        let numbers = output.as_bytes().as_chunks::<4>().0.iter();
        numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    });
    floats.collect()
}

/// The largest distance between the first outputs, by the largest number of the first model's.
fn distance(one: &Model, other: &Model) -> f32 {
    let mut farthest = 0.0_f32;
    for seed in 10..14 {
        let (one, other) = (computed(one, seed), computed(other, seed));
        let most = one[0].iter().fold(0.0_f32, |most, value| most.max(value.abs()));
        for (one, other) in one[0].iter().zip(&other[0]) {
            farthest = farthest.max((one - other).abs() / most);
        }
    }
    farthest
}

#[track_caller]
fn changed(changed: Changed) -> Model {
    let change = changed.expect("applied").expect("something to do");
    assert!(!change.notes.is_empty());
    change.model
}

/// The ranges of all values that are stored, over a few rows.
fn ranges(model: &Model) -> Ranges {
    let (observed, values) = observe(model).expect("layers");
    let own = model.graph.outputs.len();
    let mut ranges = Ranges::new();
    for seed in 10..30 {
        let outputs = computed(&observed, seed);
        let names = observed.graph.outputs.iter().map(|output| &output.name);
        for (name, numbers) in names.zip(&outputs).skip(own) {
            let range = Range::of(numbers).expect("finite");
            let known = ranges.entry(name.clone()).or_insert(range);
            *known = known.with(range);
        }
    }
    if values.iter().any(|value| value == "x") {
        ranges.insert("x".into(), Range { low: -1.0, high: 1.0 });
    }
    ranges
}

#[test]
fn the_clean_up_computes_the_same_with_fewer_nodes() {
    let mut graph = Graph::new("messy");
    graph.inputs = vec![value("x", &[1, 2, 5, 5])];
    graph.outputs = vec![value("y", &[1, 4, 5, 5])];
    let variance = Tensor::new("variance", &[4], &[0.5_f32, 1.0, 2.0, 0.01]);
    graph.initialisers = vec![
        weights("w", &[4, 2, 1, 1], 1),
        weights("scale", &[4], 2),
        weights("shift", &[4], 3),
        weights("mean", &[4], 4),
        variance,
        weights("nobody", &[4], 5),
    ];
    let factor = Tensor::new("", &[1], &[2.0_f32]);
    graph.nodes = vec![
        Node::new("Identity", &["x"], &["same"]),
        Node::new("Conv", &["same", "w"], &["conv"]),
        Node::new("BatchNormalization", &["conv", "scale", "shift", "mean", "variance"], &["norm"]),
        Node::new("Dropout", &["norm"], &["kept"]),
        Node::new("Constant", &[], &["two"]).with("value", factor),
        Node::new("Mul", &["kept", "two"], &["y"]),
    ];
    let messy = Model::new(graph, 13);
    let clean = changed(graph_pass(&messy));
    let operators: Vec<&str> =
        clean.graph.nodes.iter().map(|node| node.operator.as_str()).collect();
    assert_eq!(operators, ["Conv", "Mul"]);
    assert!(clean.graph.initialiser("nobody").is_none());
    assert!(distance(&messy, &clean) < 1e-5, "{}", distance(&messy, &clean));
    assert_eq!(graph_pass(&clean), Ok(None), "there is nothing left");
}

fn graph_pass(model: &Model) -> Changed {
    super::graph(model)
}

/// A GELU as some exporters write it: `x` times a half of the rest, which is the value `product`.
fn gelu(half: f32) -> Model {
    let mut graph = Graph::new("gelu");
    graph.inputs = vec![value("x", &[2, 8])];
    graph.outputs = vec![value("y", &[2, 8])];
    graph.initialisers = vec![
        Tensor::new("root", &[], &[std::f32::consts::SQRT_2]),
        Tensor::new("one", &[], &[1.0_f32]),
        Tensor::new("half", &[], &[half]),
    ];
    graph.nodes = vec![
        Node::new("Div", &["x", "root"], &["scaled"]),
        Node::new("Erf", &["scaled"], &["erf"]),
        Node::new("Add", &["erf", "one"], &["sum"]),
        Node::new("Mul", &["half", "sum"], &["product"]),
        Node::new("Mul", &["x", "product"], &["y"]),
    ];
    Model::new(graph, 17)
}

#[test]
fn a_gelu_is_put_in_the_order_that_is_fused_and_computes_the_same() {
    let model = gelu(0.5);
    let mut turned = gelu(0.5);
    turned.graph.nodes[2..].iter_mut().for_each(|node| node.inputs.reverse());
    for model in [model, turned] {
        let ordered = changed(graph_pass(&model));
        let products = ordered.graph.nodes[3..].iter().map(|node| node.inputs.join(" * "));
        assert_eq!(products.collect::<Vec<_>>(), ["x * sum", "product * half"]);
        assert!(distance(&model, &ordered) < 1e-6, "{}", distance(&model, &ordered));
        assert_eq!(graph_pass(&ordered), Ok(None), "it is done already");
    }
}

#[test]
fn what_only_looks_like_a_gelu_stays() {
    assert_eq!(graph_pass(&gelu(0.25)), Ok(None), "another factor");
    let mut model = gelu(0.5);
    model.graph.outputs.push(value("product", &[2, 8]));
    assert_eq!(graph_pass(&model), Ok(None), "callers get the inner product");
    let mut model = gelu(0.5);
    model.graph.nodes.push(Node::new("Relu", &["product"], &["z"]));
    model.graph.outputs.push(value("z", &[2, 8]));
    assert_eq!(graph_pass(&model), Ok(None), "another node reads it");
    let mut model = gelu(0.5);
    model.graph.inputs.push(value("other", &[2, 8]));
    model.graph.nodes[4].inputs[0] = "other".into();
    assert_eq!(graph_pass(&model), Ok(None), "it is multiplied by another value");
    let mut model = gelu(0.5);
    model.graph.nodes[1].operator = "Tanh".into();
    assert_eq!(graph_pass(&model), Ok(None), "another function");
}

#[test]
fn an_output_keeps_its_name_and_training_stays() {
    let mut graph = Graph::new("kept");
    graph.inputs = vec![value("x", &[1, 2])];
    graph.outputs = vec![value("y", &[1, 2])];
    let yes = Tensor::of_bytes("yes", ElementType::BOOL, &[], vec![1]);
    graph.initialisers = vec![yes];
    graph.nodes = vec![
        Node::new("Dropout", &["x", "", "yes"], &["dropped"]),
        Node::new("Identity", &["dropped"], &["y"]),
    ];
    assert_eq!(graph_pass(&Model::new(graph, 13)), Ok(None));
}

#[test]
fn stored_weights_come_back_within_half_a_step() {
    let model = net();
    let stored = changed(store8(&model));
    let sizes = [&model, &stored].map(|model| model.write().expect("whole").len());
    assert!(sizes[1] * 3 < sizes[0], "{sizes:?}");
    // One output of each row of a Gemm that is transposed.
    for (name, channels) in [("w3", 10)] {
        let of = |model: &Model| constant(&Scope::of_graph(&model.graph, None), name);
        let (one, other) = (of(&model).expect("floats"), of(&stored).expect("expanded"));
        assert_eq!(one.dims, other.dims);
        for channel in 0..channels {
            let width = one.inner(0);
            let row = channel * width..(channel + 1) * width;
            let most = one.values[row.clone()].iter().fold(0.0_f32, |m, value| m.max(value.abs()));
            for at in row {
                let step = most / f32::from(FULL);
                assert!((one.values[at] - other.values[at]).abs() <= step * 0.501);
            }
        }
    }
    assert!(distance(&model, &stored) < 0.02, "{}", distance(&model, &stored));
    assert_eq!(store8(&stored), Ok(None), "it is stored already");
}

#[test]
fn dynamic_products_are_close_and_only_products() {
    for (model, convolutions) in [(product(), 0), (net(), 2)] {
        let dynamic = changed(dynamic8(&model, Dynamic::default()));
        let count = |operator| dynamic.graph.nodes.iter().filter(|n| n.is("", operator)).count();
        assert_eq!((count("MatMulInteger"), count("Conv")), (1, convolutions));
        assert!(distance(&model, &dynamic) < 0.03, "{}", distance(&model, &dynamic));
        assert_eq!(dynamic8(&dynamic, Dynamic::default()), Ok(None));
    }
    let all = Dynamic { convolutions: true, per_channel: false, max: SAFE };
    let all = changed(dynamic8(&net(), all));
    assert!(all.graph.nodes.iter().all(|node| !node.is("", "Conv")));
}

#[test]
fn stored_weights_are_seen_through() {
    let stored = changed(store8(&product()));
    let dynamic = changed(dynamic8(&stored, Dynamic::default()));
    assert!(
        dynamic
            .graph
            .initialisers
            .iter()
            .all(|tensor| tensor.element != ElementType::FLOAT || tensor.dims.len() < 2)
    );
    assert!(distance(&product(), &dynamic) < 0.03);
}

#[test]
fn static_layers_are_close_and_can_stay_in_floats() {
    let model = net();
    let ranges = ranges(&model);
    assert_eq!(layers(&model), ["c1", "c2", "y"]);
    for max in [FULL, SAFE] {
        let plan = Plan { max, ..Plan::default() };
        let whole = changed(static8(&model, &ranges, &plan));
        assert!(distance(&model, &whole) < 0.05, "{}", distance(&model, &whole));
        assert_eq!(static8(&whole, &ranges, &plan), Ok(None), "it is done already");
    }
    // Weights of layers that stay are still floats.
    let keep = ["c1".to_owned(), "y".to_owned()].into();
    let part = changed(static8(&model, &ranges, &Plan { keep, ..Plan::default() }));
    assert!(part.graph.initialiser("w1").is_some() && part.graph.initialiser("w2").is_none());
    let only = Some(["y".to_owned()].into());
    let one = changed(static8(&model, &ranges, &Plan { only, ..Plan::default() }));
    assert!(one.graph.initialiser("w1").is_some() && one.graph.initialiser("w3").is_none());
    assert!(distance(&model, &one) < 0.03);
}

#[test]
fn a_missing_range_or_an_old_opset_is_named() {
    let found = static8(&net(), &Ranges::new(), &Plan::default());
    assert_eq!(found, Err(PassError::NoRange { value: "x".into() }));
    let mut old = net();
    old.opsets = vec![hospes_onnx::model::Opset::new("", 10)];
    let found = static8(&old, &Ranges::new(), &Plan::default());
    assert_eq!(found, Err(PassError::Opset { pass: "static8", found: 10, needed: 13 }));
    assert!(matches!(dynamic8(&old, Dynamic::default()), Err(PassError::Opset { needed: 11, .. })));
}

#[test]
fn four_bits_compute_what_they_store() {
    let four = changed(bits(&product(), 4));
    assert!(distance(&product(), &four) < 0.15, "{}", distance(&product(), &four));
    assert_eq!(four.opset("com.microsoft"), Some(1));
    assert_eq!(bits(&four, 4), Ok(None));
    let eight = changed(bits(&product(), 8));
    let bytes = eight.graph.initialisers.iter().find(|one| one.element == ElementType::UINT8);
    assert_eq!(bytes.map(|bytes| bytes.dims.clone()), Some(vec![40, 2, 32]));
}

#[test]
fn pruning_takes_the_smallest_or_any() {
    let zeros = |model: &Model| {
        let floats = model.graph.initialisers.iter().filter(|one| one.dims.len() > 1);
        let arrays = floats.filter_map(Array::of).flat_map(|array| array.values);
        arrays.filter(|value| *value == 0.0).count()
    };
    let model = net();
    let total = 16 * 2 * 9 + 16 * 16 + 10 * 1024;
    for choice in [Choice::Magnitude, Choice::Random(3)] {
        let half = changed(prune(&model, 0.5, choice));
        assert_eq!(zeros(&half), total / 2, "{choice:?}");
    }
    let half = changed(prune(&model, 0.5, Choice::Magnitude));
    let kept = |model: &Model| {
        let tensor = Array::of(model.graph.initialiser("w3").expect("there")).expect("floats");
        tensor.values.into_iter().filter(|v| *v != 0.0).fold(f32::MAX, |m, v| m.min(v.abs()))
    };
    assert!((0.4..0.6).contains(&kept(&half)), "half of the numbers are below: {}", kept(&half));
    assert_eq!(prune(&half, 0.5, Choice::Magnitude), Ok(None), "they are zero already");
    assert_eq!(prune(&model, 0.0, Choice::Magnitude), Ok(None));
    assert_eq!(prune(&model, 1.5, Choice::Magnitude), Err(PassError::Amount { amount: 1.5 }));
}

#[test]
fn models_without_layers_stay_as_they_are() {
    let mut graph = Graph::new("plain");
    graph.inputs = vec![value("x", &[1, 4])];
    graph.outputs = vec![value("y", &[1, 4])];
    graph.nodes = vec![Node::new("Relu", &["x"], &["y"])];
    let plain = Model::new(graph, 13);
    assert_eq!(graph_pass(&plain), Ok(None));
    assert_eq!(store8(&plain), Ok(None));
    assert_eq!(dynamic8(&plain, Dynamic::default()), Ok(None));
    assert_eq!(static8(&plain, &Ranges::new(), &Plan::default()), Ok(None));
    assert_eq!(bits(&plain, 4), Ok(None));
    assert_eq!(prune(&plain, 0.5, Choice::Magnitude), Ok(None));
    assert!(observe(&plain).is_none());
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let model = net();
    let ranges = ranges(&model);
    let once = || changed(static8(&model, &ranges, &Plan::default())).write().expect("whole");
    assert_eq!(once(), once());
    let dynamic = || changed(dynamic8(&model, Dynamic::default())).write().expect("whole");
    assert_eq!(dynamic(), dynamic());
}
