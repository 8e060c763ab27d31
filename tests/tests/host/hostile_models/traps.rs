//! Models that trap the processor, read out of bounds or divide by zero, and trees with cycles.

use serde_json::{Value, json};
use system_tests::model::{
    Graph, element, floats as fractions, int, ints, numbers, string, strings, tensor,
};

use super::table::{Case, floats, given, two};

pub fn cases() -> Vec<Case> {
    let mut cases = integers();
    cases.extend(places());
    cases.extend(attributes());
    cases.extend(forests());
    cases.extend(refused());
    cases
}

/// An operator with two inputs of the same type, `a` and `b`.
fn pair(operator: &str, element: u64, attributes: &[Vec<u8>]) -> Vec<u8> {
    Graph::new()
        .input("a", element, &[-1])
        .input("b", element, &[-1])
        .node(operator, &["a", "b"], &["y"], attributes)
        .result("y", element)
        .model()
}

fn both(datatype: &str, a: &Value, b: &Value) -> Value {
    json!([given("a", datatype, &[1], &json!([a])), given("b", datatype, &[1], &json!([b]))])
}

fn integers() -> Vec<Case> {
    let least = json!(i64::MIN);
    let (less, none) = (json!(-1), json!(0));
    let case = |name, operator, element, datatype, a: &Value, b: &Value| {
        Case::contained(name, pair(operator, element, &[]), both(datatype, a, b))
    };
    let shift = pair("BitShift", element::U8, &[string("direction", "LEFT")]);
    let power = pair("Pow", element::I64, &[]);
    vec![
        case("Div of i64::MIN by -1", "Div", element::I64, "INT64", &least, &less),
        case("Div of i32::MIN by -1", "Div", element::I32, "INT32", &json!(i32::MIN), &less),
        case("Div of i8::MIN by -1", "Div", element::I8, "INT8", &json!(-128), &less),
        case("Div of an INT64 by 0", "Div", element::I64, "INT64", &json!(1), &none),
        case("Div of an INT8 by 0", "Div", element::I8, "INT8", &json!(1), &none),
        case("Mod of i64::MIN by -1", "Mod", element::I64, "INT64", &least, &less),
        case("Mod of i32::MIN by -1", "Mod", element::I32, "INT32", &json!(i32::MIN), &less),
        case("Mod of an INT64 by 0", "Mod", element::I64, "INT64", &json!(1), &none),
        case("Mod of a UINT8 by 0", "Mod", element::U8, "UINT8", &json!(1), &none),
        Case::contained("BitShift by 255", shift, both("UINT8", &json!(1), &json!(255))),
        Case::contained("Pow of i64::MIN by i64::MIN", power, both("INT64", &least, &least)),
    ]
}

/// Indices out of bounds.
#[expect(clippy::too_many_lines, reason = "a table with one case per row")]
fn places() -> Vec<Case> {
    let index = json!([given("i", "INT64", &[1], &json!([i64::MIN]))]);
    let far = json!([given("i", "INT64", &[1], &json!([1_i64 << 40]))]);
    let with = |operator: &str, inputs: &[&str]| {
        let graph = Graph::new()
            .input("i", element::I64, &[-1])
            .weights(&numbers("d", &[1, 2, 3]))
            .weights(&numbers("u", &[9]));
        graph.node(operator, inputs, &["y"], &[]).result("y", element::I64).model()
    };
    let nd = |operator: &str, inputs: &[&str]| {
        let index = [int("axis", 0)];
        let graph = Graph::new()
            .input("i", element::I64, &[-1])
            .weights(&numbers("d", &[1, 2, 3]))
            .weights(&numbers("u", &[9]))
            .weights(&numbers("column", &[-1, 1]))
            .node("Reshape", &["i", "column"], &["at"], &[]);
        let attributes = if operator == "ScatterElements" { &index[..] } else { &[] };
        graph.node(operator, inputs, &["y"], attributes).result("y", element::I64).model()
    };
    let slice = |at: usize| {
        let mut inputs = ["d", "zero", "two", "zero", "one"];
        inputs[at] = "i";
        let graph = Graph::new()
            .input("i", element::I64, &[1])
            .weights(&numbers("d", &[1, 2, 3]))
            .weights(&numbers("zero", &[0]))
            .weights(&numbers("one", &[1]))
            .weights(&numbers("two", &[2]));
        graph.node("Slice", &inputs, &["y"], &[]).result("y", element::I64).model()
    };
    vec![
        Case::contained("Gather below the first index", with("Gather", &["d", "i"]), index.clone()),
        Case::contained("Gather above the last index", with("Gather", &["d", "i"]), far.clone()),
        Case::contained(
            "GatherElements above the last index",
            with("GatherElements", &["d", "i"]),
            far.clone(),
        ),
        Case::contained("GatherND above the last index", nd("GatherND", &["d", "at"]), far.clone()),
        Case::contained(
            "ScatterND below the first index",
            nd("ScatterND", &["d", "at", "u"]),
            index.clone(),
        ),
        Case::contained(
            "ScatterElements above the last index",
            nd("ScatterElements", &["d", "i", "u"]),
            far.clone(),
        ),
        Case::contained("Slice from 2^40", slice(1), far.clone()),
        Case::contained("Slice to i64::MIN", slice(2), index.clone()),
        Case::contained("Slice along a missing axis", slice(3), far),
        Case::contained(
            "Slice with step 0",
            slice(4),
            json!([given("i", "INT64", &[1], &json!([0]))]),
        ),
        Case::contained("Slice with step i64::MIN", slice(4), index.clone()),
        Case::contained(
            "Reshape with two unknown sizes",
            with("Reshape", &["d", "i"]),
            json!([given("i", "INT64", &[2], &json!([-1, -1]))]),
        ),
        Case::contained(
            "Reshape to a size that overflows",
            with("Reshape", &["d", "i"]),
            json!([given("i", "INT64", &[3], &json!([1_i64 << 32, 1_i64 << 32, 3]))]),
        ),
        Case::contained("Unsqueeze at a missing axis", with("Unsqueeze", &["d", "i"]), index),
        Case::contained(
            "Split into negative sizes",
            with("Split", &["d", "i"]),
            json!([given("i", "INT64", &[2], &json!([-1, 4]))]),
        ),
    ]
}

/// Absurd attributes.
fn attributes() -> Vec<Case> {
    let picture = || Graph::new().input("x", element::F32, &[1, 4, 4, 4]).result("y", element::F32);
    let pixels = json!([given("x", "FP32", &[1, 4, 4, 4], &json!(vec![1; 64]))]);
    let kernel = tensor("w", element::F32, &[4, 4, 1, 1], &[0; 64]);
    let convolve = |name, operator: &str, attributes: &[Vec<u8>]| {
        let graph = picture().weights(&kernel).node(operator, &["x", "w"], &["y"], attributes);
        Case::contained(name, graph.model(), pixels.clone())
    };
    let plain = |name, operator: &str, attributes: &[Vec<u8>]| {
        let graph = picture().node(operator, &["x"], &["y"], attributes);
        Case::contained(name, graph.model(), pixels.clone())
    };
    let window = ints("kernel_shape", &[2, 2]);
    vec![
        convolve("Conv with zero strides", "Conv", &[ints("strides", &[0, 0])]),
        convolve("Conv with zero groups", "Conv", &[int("group", 0)]),
        convolve("Conv with i64::MIN groups", "Conv", &[int("group", i64::MIN)]),
        convolve("Conv with pads of 2^40", "Conv", &[ints("pads", &[1 << 40; 4])]),
        convolve("Conv with zero dilations", "Conv", &[ints("dilations", &[0, 0])]),
        convolve(
            "ConvTranspose to an output of 2^40",
            "ConvTranspose",
            &[ints("output_shape", &[1 << 40, 1 << 40])],
        ),
        plain("MaxPool with a window of zero", "MaxPool", &[ints("kernel_shape", &[0, 0])]),
        plain(
            "AveragePool with zero strides",
            "AveragePool",
            &[window.clone(), ints("strides", &[0, 0])],
        ),
        plain("MaxPool with negative pads", "MaxPool", &[window, ints("pads", &[-9; 4])]),
        plain("DepthToSpace with blocks of 0", "DepthToSpace", &[int("blocksize", 0)]),
        plain("SpaceToDepth with blocks of 2^40", "SpaceToDepth", &[int("blocksize", 1 << 40)]),
        plain("Softmax along axis 2^40", "Softmax", &[int("axis", 1 << 40)]),
        plain("Transpose with a repeated axis", "Transpose", &[ints("perm", &[0, 0, 0, 0])]),
        plain("LRN with size 0", "LRN", &[int("size", 0)]),
        plain("Flatten at axis i64::MIN", "Flatten", &[int("axis", i64::MIN)]),
        memory("LSTM with hidden size 0", 0),
        memory("LSTM with hidden size 2^40", 1 << 40),
    ]
}

fn memory(name: &'static str, size: i64) -> Case {
    let graph = Graph::new()
        .input("x", element::F32, &[1, 1, 2])
        .weights(&tensor("w", element::F32, &[1, 8, 2], &[0; 64]))
        .weights(&tensor("r", element::F32, &[1, 8, 2], &[0; 64]));
    let graph = graph.node("LSTM", &["x", "w", "r"], &["y"], &[int("hidden_size", size)]);
    let inputs = json!([given("x", "FP32", &[1, 1, 2], &json!([1, 2]))]);
    Case::contained(name, graph.result("y", element::F32).model(), inputs)
}

/// Trees whose nodes form cycles or refer to missing nodes.
fn forests() -> Vec<Case> {
    let tree = |name, yes: &[i64], no: &[i64], feature: i64| {
        let ids: Vec<i64> = (0..yes.len() as i64).collect();
        let mut modes = vec!["BRANCH_LEQ"; yes.len()];
        if let Some(last) = modes.last_mut() {
            *last = "LEAF";
        }
        let attributes = [
            ints("nodes_treeids", &vec![0; yes.len()]),
            ints("nodes_nodeids", &ids),
            ints("nodes_featureids", &vec![feature; yes.len()]),
            strings("nodes_modes", &modes),
            fractions("nodes_values", &vec![1e9; yes.len()]),
            ints("nodes_truenodeids", yes),
            ints("nodes_falsenodeids", no),
            ints("target_treeids", &[0]),
            ints("target_nodeids", &[yes.len() as i64 - 1]),
            ints("target_ids", &[0]),
            fractions("target_weights", &[1.0]),
            int("n_targets", 1),
        ];
        let graph = Graph::new().input("x", element::F32, &[-1, 2]).result("y", element::F32);
        let forest = ("ai.onnx.ml", "TreeEnsembleRegressor");
        let model = graph.foreign(forest, &["x"], &["y"], &attributes).model();
        Case::contained(name, model, json!([given("x", "FP32", &[1, 2], &json!([1, 2]))]))
    };
    vec![
        tree("a tree with a cycle to its root", &[1, 0, 0], &[2, 2, 0], 0),
        tree("a tree whose root is its own child", &[0, 0], &[1, 0], 0),
        tree("a tree with a missing child", &[1 << 40, 0], &[1, 0], 0),
        tree("a tree with a missing feature", &[1, 0], &[1, 0], 1 << 40),
        tree("a tree with feature i64::MIN", &[1, 0], &[1, 0], i64::MIN),
    ]
}

/// Bytes that are not a model, and a model of another version.
fn refused() -> Vec<Case> {
    let whole = floats().node("Abs", &["x"], &["y"], &[]).model();
    let no_graph = system_tests::model::number(1, 8);
    vec![
        Case::refused("only an IR version", no_graph, "it has no graph"),
        Case::refused("a truncated model", whole[..whole.len() / 2].to_vec(), "not an ONNX model"),
        Case::refused("bytes that are not a model", vec![0xff; 1000], "not an ONNX model"),
        Case::refused(
            "an unknown operator set version",
            floats().node("Abs", &["x"], &["y"], &[]).model_of(9999),
            "",
        ),
        Case::contained("a model with an empty graph", Graph::new().model(), json!([])),
        Case::contained(
            "an unused input",
            floats().node("Identity", &["x"], &["y"], &[]).input("z", element::TEXT, &[-1]).model(),
            two(),
        ),
    ]
}
