//! Endless and exponential work.

use serde_json::json;
use system_tests::model::{Graph, body, element, int, message, numbers, scalar, tensor};

use super::table::{Case, counted, floats, given, one, two};

/// More iterations than the processor could do in a year.
const AGES: i64 = 1 << 62;

pub fn cases() -> Vec<Case> {
    vec![
        Case::endless(
            "a loop of the caller's 2^62 iterations",
            loops(1, "n", Some("n")),
            one("n", AGES),
        ),
        Case::endless("a loop of 2^62 iterations", loops(1, "ages", None), one("n", 1)),
        Case::endless("four nested loops", loops(4, "many", None), one("n", 1)),
        Case::endless("a loop without a limit", forever(), one("n", 1)),
        Case::endless("four nested Scans of 2^14 rows", scans(4), long_rows()),
        Case::contained("a loop that doubles its state", growing(), one("n", AGES)),
        Case::contained("a loop that collects its outputs", collecting(), one("n", AGES)),
        Case::contained(
            "a text doubled sixty times",
            texts(),
            json!([given("x", "BYTES", &[1], &json!(["aaaaaaaa"]))]),
        ),
        Case::contained(
            "endless matrix products",
            matrices(),
            json!([given("x", "FP32", &[1], &json!([1]))]),
        ),
        Case::contained("a loop of 0 iterations", loops(1, "n", Some("n")), one("n", 0)),
        Case::contained("a loop of -2^62 iterations", loops(1, "n", Some("n")), one("n", -AGES)),
        Case::contained("branches nested fifteen deep", branches(), two()),
    ]
}

/// A loop body with the inputs iteration number, condition and `a`, and the outputs condition and
/// `a` plus one.
fn turn() -> Graph {
    Graph::new()
        .input("i", element::I64, &[])
        .input("go", element::BOOL, &[])
        .input("a", element::I64, &[])
        .weights(&scalar("one", 1))
        .node("Identity", &["go"], &["go_on"], &[])
        .node("Add", &["a", "one"], &["b"], &[])
        .output("go_on", element::BOOL, &[])
        .output("b", element::I64, &[])
}

/// Nested loops.
fn loops(depth: usize, turns: &str, input: Option<&str>) -> Vec<u8> {
    let mut inner = turn();
    for level in 1..depth {
        let (go, result) = (format!("g{level}"), format!("r{level}"));
        inner = Graph::new()
            .input(&format!("i{level}"), element::I64, &[])
            .input(&go, element::BOOL, &[])
            .input(&format!("a{level}"), element::I64, &[])
            .node(
                "Loop",
                &[turns, "yes", &format!("a{level}")],
                &[&result],
                &[body("body", &inner)],
            )
            .node("Identity", &[&go], &[&format!("go{level}")], &[])
            .output(&format!("go{level}"), element::BOOL, &[])
            .output(&result, element::I64, &[]);
    }
    let graph = counted(element::I64)
        .weights(&scalar("ages", AGES))
        .weights(&scalar("many", 100_000))
        .weights(&scalar("zero", 0))
        .weights(&tensor("yes", element::BOOL, &[], &[1]));
    let start = if input.is_some() { "zero" } else { "n" };
    graph.node("Loop", &[turns, "yes", start], &["y"], &[body("body", &inner)]).model()
}

/// A loop without an iteration count, whose condition never changes.
fn forever() -> Vec<u8> {
    let graph = counted(element::I64).weights(&tensor("yes", element::BOOL, &[], &[1]));
    graph.node("Loop", &["", "yes", "n"], &["y"], &[body("body", &turn())]).model()
}

fn long_rows() -> serde_json::Value {
    json!([given("x", "UINT8", &[1 << 14], &json!(vec![1; 1 << 14]))])
}

fn scans(depth: usize) -> Vec<u8> {
    let mut inner = Graph::new()
        .input("s", element::I64, &[])
        .input("e", element::U8, &[])
        .weights(&scalar("one", 1))
        .node("Add", &["s", "one"], &["t"], &[])
        .output("t", element::I64, &[]);
    for level in 1..depth {
        let (from, to) = (format!("s{level}"), format!("t{level}"));
        inner = Graph::new()
            .input(&from, element::I64, &[])
            .input(&format!("e{level}"), element::U8, &[])
            .node("Scan", &[&from, "x"], &[&to], &[body("body", &inner), int("num_scan_inputs", 1)])
            .output(&to, element::I64, &[]);
    }
    Graph::new()
        .input("x", element::U8, &[-1])
        .weights(&scalar("zero", 0))
        .node("Scan", &["zero", "x"], &["y"], &[body("body", &inner), int("num_scan_inputs", 1)])
        .result("y", element::I64)
        .model()
}

/// The value doubles in every iteration.
fn growing() -> Vec<u8> {
    let inner = Graph::new()
        .input("i", element::I64, &[])
        .input("go", element::BOOL, &[])
        .input("a", element::I64, &[-1])
        .node("Identity", &["go"], &["go_on"], &[])
        .node("Concat", &["a", "a"], &["b"], &[int("axis", 0)])
        .output("go_on", element::BOOL, &[])
        .with(message(12, &system_tests::model::typed("b", element::I64, None)));
    let graph = counted(element::I64).weights(&numbers("start", &[1])).weights(&tensor(
        "yes",
        element::BOOL,
        &[],
        &[1],
    ));
    graph.node("Loop", &["n", "yes", "start"], &["y"], &[body("body", &inner)]).model()
}

/// The result of every iteration is kept.
fn collecting() -> Vec<u8> {
    let inner = Graph::new()
        .input("i", element::I64, &[])
        .input("go", element::BOOL, &[])
        .node("Identity", &["go"], &["go_on"], &[])
        .node("Identity", &["i"], &["b"], &[])
        .output("go_on", element::BOOL, &[])
        .output("b", element::I64, &[]);
    let graph = counted(element::I64).weights(&tensor("yes", element::BOOL, &[], &[1]));
    graph.node("Loop", &["n", "yes"], &["y"], &[body("body", &inner)]).model()
}

fn texts() -> Vec<u8> {
    let graph = Graph::new().input("x", element::TEXT, &[-1]);
    let graph = (0..60).fold(graph, |graph, level| {
        let from = if level == 0 { "x".to_owned() } else { format!("t{}", level - 1) };
        graph.node("StringConcat", &[&from, &from], &[&format!("t{level}")], &[])
    });
    graph.node("Identity", &["t59"], &["y"], &[]).result("y", element::TEXT).model_of(20)
}

/// Five hundred products of matrices of 4096 by 4096, 16 million numbers each, one after the other.
fn matrices() -> Vec<u8> {
    let graph = floats().weights(&numbers("size", &[4096, 4096])).node(
        "Expand",
        &["x", "size"],
        &["m0"],
        &[],
    );
    let graph = (0..500).fold(graph, |graph, at| {
        graph.node("MatMul", &[&format!("m{at}"), "m0"], &[&format!("m{}", at + 1)], &[])
    });
    graph.node("ReduceMax", &["m500"], &["y"], &[]).model()
}

/// Both branches contain two more branches.
fn branches() -> Vec<u8> {
    let mut inner = Graph::new().node("Abs", &["x"], &["w"], &[]).result("w", element::F32);
    for level in 0..15 {
        let name = format!("w{level}");
        let both = [body("then_branch", &inner), body("else_branch", &inner)];
        inner = Graph::new().node("If", &["c"], &[&name], &both).result(&name, element::F32);
    }
    let graph = floats().weights(&tensor("c", element::BOOL, &[], &[1]));
    let both = [body("then_branch", &inner), body("else_branch", &inner)];
    graph.node("If", &["c"], &["y"], &both).model()
}
