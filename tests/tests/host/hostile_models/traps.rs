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
        case("the least INT64 by -1", "Div", element::I64, "INT64", &least, &less),
        case("the least INT32 by -1", "Div", element::I32, "INT32", &json!(i32::MIN), &less),
        case("the least INT8 by -1", "Div", element::I8, "INT8", &json!(-128), &less),
        case("an INT64 by nothing", "Div", element::I64, "INT64", &json!(1), &none),
        case("an INT8 by nothing", "Div", element::I8, "INT8", &json!(1), &none),
        case("what is left of the least INT64 by -1", "Mod", element::I64, "INT64", &least, &less),
        case(
            "what is left of the least INT32 by -1",
            "Mod",
            element::I32,
            "INT32",
            &json!(i32::MIN),
            &less,
        ),
        case("what is left of an INT64 by nothing", "Mod", element::I64, "INT64", &json!(1), &none),
        case("what is left of a UINT8 by nothing", "Mod", element::U8, "UINT8", &json!(1), &none),
        Case::contained("bits that are moved by 255", shift, both("UINT8", &json!(1), &json!(255))),
        Case::contained(
            "the least power of the least number",
            power,
            both("INT64", &least, &least),
        ),
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
        Case::contained("an index below the first", with("Gather", &["d", "i"]), index.clone()),
        Case::contained("an index behind the last", with("Gather", &["d", "i"]), far.clone()),
        Case::contained(
            "an element behind the last",
            with("GatherElements", &["d", "i"]),
            far.clone(),
        ),
        Case::contained("a place behind the last", nd("GatherND", &["d", "at"]), far.clone()),
        Case::contained(
            "a place to write below the first",
            nd("ScatterND", &["d", "at", "u"]),
            index.clone(),
        ),
        Case::contained(
            "an element to write behind the last",
            nd("ScatterElements", &["d", "i", "u"]),
            far.clone(),
        ),
        Case::contained("a part that begins 2^40 behind", slice(1), far.clone()),
        Case::contained("a part that ends below everything", slice(2), index.clone()),
        Case::contained("a part along an axis that is not there", slice(3), far),
        Case::contained(
            "a part by steps of nothing",
            slice(4),
            json!([given("i", "INT64", &[1], &json!([0]))]),
        ),
        Case::contained("a part by the least steps", slice(4), index.clone()),
        Case::contained(
            "a shape of two open sizes",
            with("Reshape", &["d", "i"]),
            json!([given("i", "INT64", &[2], &json!([-1, -1]))]),
        ),
        Case::contained(
            "a shape that overflows",
            with("Reshape", &["d", "i"]),
            json!([given("i", "INT64", &[3], &json!([1_i64 << 32, 1_i64 << 32, 3]))]),
        ),
        Case::contained("an axis that is not there", with("Unsqueeze", &["d", "i"]), index),
        Case::contained(
            "parts of sizes below nothing",
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
        convolve("a filter by steps of nothing", "Conv", &[ints("strides", &[0, 0])]),
        convolve("a filter of no groups", "Conv", &[int("group", 0)]),
        convolve("a filter of the least groups", "Conv", &[int("group", i64::MIN)]),
        convolve("a filter with margins of 2^40", "Conv", &[ints("pads", &[1 << 40; 4])]),
        convolve("a filter with holes of nothing", "Conv", &[ints("dilations", &[0, 0])]),
        convolve(
            "a filter backwards to 2^40",
            "ConvTranspose",
            &[ints("output_shape", &[1 << 40, 1 << 40])],
        ),
        plain("a window of nothing", "MaxPool", &[ints("kernel_shape", &[0, 0])]),
        plain(
            "a window by steps of nothing",
            "AveragePool",
            &[window.clone(), ints("strides", &[0, 0])],
        ),
        plain("a window with margins below nothing", "MaxPool", &[window, ints("pads", &[-9; 4])]),
        plain("blocks of nothing", "DepthToSpace", &[int("blocksize", 0)]),
        plain("blocks of 2^40", "SpaceToDepth", &[int("blocksize", 1 << 40)]),
        plain("an axis of 2^40", "Softmax", &[int("axis", 1 << 40)]),
        plain(
            "an order of axes with one of them twice",
            "Transpose",
            &[ints("perm", &[0, 0, 0, 0])],
        ),
        plain("a part of no numbers", "LRN", &[int("size", 0)]),
        plain("a flattening at the least axis", "Flatten", &[int("axis", i64::MIN)]),
        memory("a memory of nothing", 0),
        memory("a memory of 2^40", 1 << 40),
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
        tree("a tree that leads back to its root", &[1, 0, 0], &[2, 2, 0], 0),
        tree("a tree whose root is its own child", &[0, 0], &[1, 0], 0),
        tree("a tree with a child that is not there", &[1 << 40, 0], &[1, 0], 0),
        tree("a tree that asks for a feature that is not there", &[1, 0], &[1, 0], 1 << 40),
        tree("a tree that asks for the least feature", &[1, 0], &[1, 0], i64::MIN),
    ]
}

/// Bytes that are not a model, and a model of another version.
fn refused() -> Vec<Case> {
    let whole = floats().node("Abs", &["x"], &["y"], &[]).model();
    let no_graph = system_tests::model::number(1, 8);
    vec![
        Case::refused("nothing but a version", no_graph, "it has no graph"),
        Case::refused(
            "a model that is cut off",
            whole[..whole.len() / 2].to_vec(),
            "not an ONNX model",
        ),
        Case::refused("bytes that are no model", vec![0xff; 1000], "not an ONNX model"),
        Case::refused(
            "operators of another time",
            floats().node("Abs", &["x"], &["y"], &[]).model_of(9999),
            "",
        ),
        Case::contained("a model that computes nothing", Graph::new().model(), json!([])),
        Case::contained(
            "an input that nobody uses",
            floats().node("Identity", &["x"], &["y"], &[]).input("z", element::TEXT, &[-1]).model(),
            two(),
        ),
    ]
}
