//! Every way for a model to refer to something outside itself.

use system_tests::model::{
    Graph, attribute, body, element, external, function, message, node, number, string, tensor,
    text, typed, value,
};

use serde_json::json;

use super::table::{Case, floats, given};

const OUTSIDE: &str = "outside the model";
const HOST_KEY: &str = "data/host.pem";

/// A tensor `w` of four bytes, plus these fields.
fn weights(more: &[u8]) -> Vec<u8> {
    [tensor("w", element::U8, &[4], &[1, 2, 3, 4]), more.to_vec()].concat()
}

fn graph() -> Graph {
    Graph::new()
        .input("x", element::U8, &[-1])
        .node("Concat", &["w", "x"], &["y"], &[system_tests::model::int("axis", 0)])
        .result("y", element::U8)
}

fn initialiser(more: &[u8]) -> Vec<u8> {
    graph().weights(&weights(more)).model()
}

pub fn cases() -> Vec<Case> {
    let mut cases = locations();
    cases.extend(places());
    cases.extend(encodings());
    cases.extend(operators());
    cases
}

fn locations() -> Vec<Case> {
    let at = |name, location: &str| Case::refused(name, initialiser(&external(location)), OUTSIDE);
    vec![
        at("a path below the working directory", HOST_KEY),
        at("an absolute path", "/etc/passwd"),
        at("a path above the working directory", "../../../../etc/passwd"),
        at("a path through a folder and back", "sub/../data/host.pem"),
        at("a path in /proc/self", "/proc/self/environ"),
        at("a memory address of the library", "*/_ORT_MEM_ADDR_/*"),
        at("an empty path", ""),
        at("a path with a forged log line", "a\n2026-01-01 INFO published"),
    ]
}

fn places() -> Vec<Case> {
    let outside = weights(&external(HOST_KEY));
    let sparse = |values: &[u8], indices: &[u8]| {
        message(15, &[message(1, values), message(2, indices), number(3, 4)].concat())
    };
    let constant = |kind, content: Vec<u8>| {
        graph().node("Constant", &[], &["w"], &[attribute("value", kind, &content)]).model()
    };
    let branch = |name, depth| {
        let mut inner = Graph::new().weights(&outside).result("w", element::U8);
        for _ in 1..depth {
            let branches = [body("then_branch", &inner), body("else_branch", &inner)];
            inner = Graph::new().node("If", &["c"], &["w"], &branches).result("w", element::U8);
        }
        let branches = [body("then_branch", &inner), body("else_branch", &inner)];
        let graph = graph().weights(&tensor("c", element::BOOL, &[], &[1]));
        Case::refused(name, graph.node("If", &["c"], &["w"], &branches).model(), OUTSIDE)
    };
    let in_function = node(("", "Constant"), &[], &["w"], &[value("value", &outside)]);
    let with = |field: Vec<u8>| [initialiser(&[]), field].concat();
    let defaults = [text(1, "f"), text(10, "own"), message(11, &message(5, &outside))].concat();
    let whole = weights(&[]);
    vec![
        Case::refused(
            "in the values of a sparse initialiser",
            graph().with(sparse(&outside, &whole)).model(),
            OUTSIDE,
        ),
        Case::refused(
            "in the indices of a sparse initialiser",
            graph().with(sparse(&whole, &outside)).model(),
            OUTSIDE,
        ),
        Case::refused("in an attribute", constant(4, message(5, &outside)), OUTSIDE),
        Case::refused("in a list of tensors", constant(9, message(10, &outside)), OUTSIDE),
        Case::refused(
            "in a sparse attribute",
            constant(11, message(22, &message(1, &outside))),
            OUTSIDE,
        ),
        Case::refused(
            "in an attribute declared as a number",
            constant(2, message(5, &outside)),
            OUTSIDE,
        ),
        branch("in a branch", 1),
        branch("in five nested branches", 5),
        Case::refused("in a function", with(function("f", &[], &["w"], &[in_function])), OUTSIDE),
        Case::refused("in a function's defaults", with(message(25, &defaults)), OUTSIDE),
        Case::refused(
            "in the training initialisation",
            with(message(20, &message(1, &message(5, &outside)))),
            OUTSIDE,
        ),
        Case::refused(
            "in the training algorithm",
            with(message(20, &message(2, &message(5, &outside)))),
            OUTSIDE,
        ),
    ]
}

fn encodings() -> Vec<Case> {
    let entry = message(13, &[text(1, "location"), text(2, HOST_KEY)].concat());
    let model = |more: Vec<u8>| initialiser(&more);
    let with = |field: Vec<u8>| [initialiser(&[]), field].concat();
    let outside = message(5, &weights(&external(HOST_KEY)));
    // Bytes 4 to 8, inside the producer's name, are the magic bytes of the library's own format.
    let both = [&[0x12, 6][..], b"xxORTM", &initialiser(&[])].concat();
    vec![
        Case::refused("an external data location without a file", model(number(14, 1)), OUTSIDE),
        Case::refused("an external file without a data location", model(entry.clone()), OUTSIDE),
        Case::refused(
            "a data location over 32 bits",
            model([entry.clone(), number(14, (1 << 32) + 1)].concat()),
            OUTSIDE,
        ),
        Case::refused(
            "a data location that is reset",
            model([entry.clone(), number(14, 1), number(14, 0)].concat()),
            OUTSIDE,
        ),
        Case::refused(
            "a data location given twice",
            model([number(14, 0), number(14, 1)].concat()),
            "twice",
        ),
        Case::refused(
            "a data location with the wrong wire type",
            model(message(14, &[1])),
            "has the wrong content",
        ),
        Case::refused("a second graph, to be merged", with(message(7, &outside)), "twice"),
        Case::refused("an unknown field", with(message(99, &outside)), "has a field 99"),
        Case::refused("a group", with([&[0x3b][..], &outside, &[0x3c]].concat()), "a group"),
        Case::refused("both ONNX and the library's own format", both, "own format"),
        Case::refused(
            "the library's own format",
            [&[24, 0, 0, 0][..], b"ORTM", &[0; 100]].concat(),
            "own format",
        ),
    ]
}

fn operators() -> Vec<Case> {
    let with = |domain, name, attribute: Vec<u8>| {
        floats().foreign((domain, name), &["x"], &["y"], &[attribute]).model()
    };
    let setting = [text(1, "ort_config"), text(2, "{\"session_options\": {}}")].concat();
    vec![
        Case::refused(
            "EPContext with a compiled graph",
            with("com.microsoft", "EPContext", string("source", "QNN")),
            "refers to a file or a library",
        ),
        Case::refused(
            "EPContext of another domain",
            with("own", "EPContext", string("source", "QNN")),
            "refers to a file or a library",
        ),
        Case::refused(
            "an ep_cache_context attribute",
            with("", "Identity", string("ep_cache_context", "c.bin")),
            "refers to a file or a library",
        ),
        Case::refused(
            "an onnx_model_filename attribute",
            with("own", "Any", string("onnx_model_filename", "other.onnx")),
            "refers to a file or a library",
        ),
        Case::refused(
            "a Python operator (PyOp)",
            with("com.microsoft", "PyOp", string("module", "os")),
            "refers to a file or a library",
        ),
        Case::refused(
            "an operator of a library that is missing",
            with("ai.onnx.contrib", "SentencepieceTokenizer", string("model", "m")),
            "needs a custom library",
        ),
        Case::refused(
            "an unknown operator",
            with("own", "Read", string("path", HOST_KEY)),
            "cannot load it",
        ),
        Case::refused(
            "ort_config metadata",
            [floats().node("Identity", &["x"], &["y"], &[]).model(), message(14, &setting)]
                .concat(),
            "metadata `ort_config`",
        ),
        Case::refused(
            "StringNormalizer with a path as locale",
            locale("../../../../tmp/locale"),
            "of a file outside the model",
        ),
        Case::contained(
            "StringNormalizer with an unknown locale",
            locale("xx_XX.UTF-8"),
            json!([given("x", "BYTES", &[1], &json!(["A"]))]),
        ),
    ]
}

fn locale(name: &str) -> Vec<u8> {
    let attributes = [string("locale", name), string("case_change_action", "LOWER")];
    Graph::new()
        .input("x", element::TEXT, &[-1])
        .node("StringNormalizer", &["x"], &["y"], &attributes)
        .with(message(12, &typed("y", element::TEXT, None)))
        .model()
}
