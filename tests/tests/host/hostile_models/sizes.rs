//! Giant shapes, constants and types, and models that become huge when they are expanded.

use serde_json::json;
use system_tests::model::{
    Graph, body, element, function, ints, message, node, number, numbers, scalar, tensor, text,
    typed, value,
};

use super::table::{Case, counted, floats, given, one, two};

const UNCOUNTED: &str = "more elements than can be counted";

pub fn cases() -> Vec<Case> {
    let mut cases = shapes();
    cases.extend(written_out());
    cases.extend(constants());
    cases.extend(by_values());
    cases
}

fn shapes() -> Vec<Case> {
    let same = |sizes: &[i64]| {
        let graph = Graph::new().input("x", element::F32, sizes);
        graph.node("Identity", &["x"], &["y"], &[]).result("y", element::F32).model()
    };
    let value = floats().with(message(13, &typed("v", element::F32, Some(&[1 << 62, 1 << 62]))));
    let claims = |dims: &[u64]| floats().weights(&tensor("w", element::F32, dims, &[0; 4])).model();
    let sparse = |size| {
        let values = tensor("w", element::F32, &[1], &[0; 4]);
        let parts = [message(1, &values), message(2, &numbers("i", &[0])), number(3, size)];
        floats().with(message(15, &parts.concat())).model()
    };
    let odd = [number(1, 2), number(2, 99), text(8, "w"), message(9, &[0; 8])].concat();
    vec![
        Case::refused("an input of 2^66 elements", same(&[1 << 32, 1 << 32, 4]), UNCOUNTED),
        Case::refused(
            "an empty input whose size overflows",
            same(&[1 << 32, 1 << 32, 0]),
            UNCOUNTED,
        ),
        Case::refused("an input of 2^63 - 1 elements", same(&[i64::MAX]), UNCOUNTED),
        Case::contained(
            "an input of 2^40 elements",
            same(&[1 << 40]),
            json!([given("x", "FP32", &[1], &json!([1]))]),
        ),
        Case::refused("a value of 2^124 elements", value.model(), UNCOUNTED),
        Case::refused("an input of 40 dimensions", same(&[1; 40]), "dimensions allowed"),
        Case::contained(
            "an input of 12 dimensions",
            same(&[1; 12]),
            json!([given("x", "FP32", &[1], &json!([1]))]),
        ),
        Case::refused("weights without data", claims(&[1 << 40]), "claims 1099511627776 elements"),
        Case::refused("weights whose size overflows", claims(&[1 << 33, 1 << 33]), UNCOUNTED),
        Case::refused("weights with a negative size", claims(&[u64::MAX]), "a size below zero"),
        Case::refused(
            "a sparse initialiser of 2^40 elements",
            sparse(1 << 40),
            "sparse tensors have more",
        ),
        Case::refused(
            "weights with an unknown type",
            floats().weights(&odd).model(),
            "elements of type 99",
        ),
    ]
}

#[expect(clippy::too_many_lines, reason = "a table with one case per row")]
fn written_out() -> Vec<Case> {
    let call = |name: &str| floats().foreign(("own", name), &["x"], &["y"], &[]).model();
    let chain = |length: usize, calls: usize| {
        let mut model = call("f0");
        for level in 0..length {
            let next = format!("f{}", level + 1);
            let mut nodes: Vec<Vec<u8>> = (1..calls)
                .map(|at| node(("own", &next), &["a"], &[&format!("t{at}")], &[]))
                .collect();
            nodes.push(node(("own", &next), &["a"], &["b"], &[]));
            model.extend(function(&format!("f{level}"), &["a"], &["b"], &nodes));
        }
        model.extend(function(
            &format!("f{length}"),
            &["a"],
            &["b"],
            &[node(("", "Abs"), &["a"], &["b"], &[])],
        ));
        model
    };
    let to = |next| function("f0", &["a"], &["b"], &[node(("own", next), &["a"], &["b"], &[])]);
    let mut nested = Graph::new();
    for _ in 0..100 {
        let inner = [body("then_branch", &nested), body("else_branch", &nested)[..0].to_vec()];
        nested = Graph::new().node("If", &["c"], &["w"], &inner);
    }
    let mut ty = Vec::new();
    for _ in 0..100 {
        ty = message(4, &message(1, &ty));
    }
    let nodes = Graph::new().with(message(1, &text(4, "Abs")).repeat(250_001));
    vec![
        Case::refused(
            "functions that expand to 2^30 nodes",
            chain(30, 2),
            "with its functions inlined",
        ),
        Case::refused("function calls 40 deep", chain(40, 1), "more than 32 deep"),
        Case::contained("function calls 30 deep", chain(30, 1), two()),
        Case::refused(
            "a function that calls itself",
            [call("f0"), to("f0")].concat(),
            "calls itself",
        ),
        Case::refused(
            "a function defined twice",
            [call("f0"), to("f1"), to("f2")].concat(),
            "defined twice",
        ),
        Case::refused("graphs nested 100 deep", nested.model(), "nested more than"),
        Case::refused(
            "types nested 100 deep",
            floats().with(message(11, &[text(1, "t"), message(2, &ty)].concat())).model(),
            "nested more than",
        ),
        Case::refused("more nodes than allowed", nodes.model(), "more than the 250000 nodes"),
        Case::refused(
            "a name of 64 KiB",
            floats().node("Abs", &["x"], &[&"y".repeat(65536)], &[]).model(),
            "65536 bytes",
        ),
        Case::contained(
            "a graph with a cycle",
            floats().node("Add", &["x", "y"], &["y"], &[]).model(),
            two(),
        ),
        Case::contained(
            "two nodes with the same output",
            floats().node("Abs", &["x"], &["y"], &[]).node("Neg", &["x"], &["y"], &[]).model(),
            two(),
        ),
        Case::contained("thousands of inputs", many_inputs(), two()),
    ]
}

fn many_inputs() -> Vec<u8> {
    let graph =
        (0..5000).fold(floats(), |graph, at| graph.input(&format!("x{at}"), element::F32, &[1]));
    graph.node("Abs", &["x"], &["y"], &[]).model()
}

/// Models that grow when they are loaded, because constants are folded then.
fn constants() -> Vec<Case> {
    let from = |name: &str, weights: Vec<u8>, inputs: &[&str]| {
        let graph = floats().weights(&weights).node(name, inputs, &["c"], &[]);
        let graph = graph.node("ReduceMax", &["c"], &["m"], &[]).result("m", element::F32);
        graph.node("Abs", &["x"], &["y"], &[]).model()
    };
    let one_byte = tensor("w", element::U8, &[1], &[7]);
    let expand = floats().weights(&numbers("n", &[1 << 20, 1 << 20])).weights(&one_byte);
    let expand =
        expand.node("Expand", &["w", "n"], &["c"], &[]).node("ReduceMax", &["c"], &["m"], &[]);
    let tile = floats().weights(&numbers("n", &[1 << 40])).weights(&one_byte);
    let tile = tile.node("Tile", &["w", "n"], &["c"], &[]).node("ReduceMax", &["c"], &["m"], &[]);
    let range =
        floats().weights(&scalar("a", 0)).weights(&scalar("b", 1 << 40)).weights(&scalar("d", 1));
    let range =
        range.node("Range", &["a", "b", "d"], &["c"], &[]).node("Size", &["c"], &["y2"], &[]);
    let random = floats().node("RandomNormal", &[], &["c"], &[ints("shape", &[1 << 40])]);
    let abs = |graph: Graph| graph.node("Abs", &["x"], &["y"], &[]).model();
    vec![
        Case::contained(
            "ConstantOfShape with 8 TiB",
            from("ConstantOfShape", numbers("w", &[1 << 41]), &["w"]),
            two(),
        ),
        Case::contained(
            "ConstantOfShape with 2^80 elements",
            from("ConstantOfShape", numbers("w", &[1 << 40, 1 << 40]), &["w"]),
            two(),
        ),
        Case::contained(
            "ConstantOfShape with a negative size",
            from("ConstantOfShape", numbers("w", &[-5]), &["w"]),
            two(),
        ),
        Case::contained("Expand to 1 TiB", abs(expand.result("m", element::U8)), two()),
        Case::contained("Tile to 1 TiB", abs(tile.result("m", element::U8)), two()),
        Case::contained("Range to 2^40", abs(range.result("y2", element::I64)), two()),
        Case::contained(
            "RandomNormal with 2^40 elements",
            abs(random.result("c", element::F32)),
            two(),
        ),
    ]
}

/// Models whose size depends on the caller's input.
#[expect(clippy::too_many_lines, reason = "a table with one case per row")]
fn by_values() -> Vec<Case> {
    let zeros = counted(element::F32).weights(&numbers("a", &[1]));
    let zeros = zeros.node("Reshape", &["n", "a"], &["s"], &[]).node(
        "ConstantOfShape",
        &["s"],
        &["y"],
        &[],
    );
    let range = counted(element::I64).weights(&scalar("a", 0)).weights(&scalar("d", 1));
    let range = range.node("Range", &["a", "n", "d"], &["y"], &[]);
    let hot = counted(element::I64).weights(&numbers("i", &[0])).weights(&numbers("v", &[0, 1]));
    let hot = hot.node("OneHot", &["i", "n", "v"], &["y"], &[]);
    let pad = counted(element::I64)
        .weights(&numbers("d", &[7]))
        .weights(&numbers("a", &[1]))
        .weights(&numbers("z", &[0]));
    let pad = pad.node("Reshape", &["n", "a"], &["e"], &[]);
    let pad = pad.node("Concat", &["z", "e"], &["p"], &[system_tests::model::int("axis", 0)]);
    let pad = pad.node("Pad", &["d", "p"], &["y"], &[]);
    let top = counted(element::I64).weights(&numbers("d", &[1, 2, 3])).weights(&numbers("a", &[1]));
    let top =
        top.node("Reshape", &["n", "a"], &["k"], &[]).node("TopK", &["d", "k"], &["y", "i"], &[]);
    let squares = (0..8).fold(
        floats()
            .weights(&numbers("row", &[1, -1]))
            .weights(&numbers("column", &[-1, 1]))
            .weights(&numbers("flat", &[-1])),
        |graph, level| {
            let name = |part: &str| format!("{part}{level}");
            let from = if level == 0 { "x".to_owned() } else { format!("f{}", level - 1) };
            graph
                .node("Reshape", &[&from, "row"], &[&name("r")], &[])
                .node("Reshape", &[&from, "column"], &[&name("c")], &[])
                .node("Add", &[&name("r"), &name("c")], &[&name("s")], &[])
                .node("Reshape", &[&name("s"), "flat"], &[&name("f")], &[])
        },
    );
    let doubled = (0..60).fold(floats(), |graph, level| {
        let from = if level == 0 { "x".to_owned() } else { format!("t{}", level - 1) };
        graph.node(
            "Concat",
            &[&from, &from],
            &[&format!("t{level}")],
            &[system_tests::model::int("axis", 0)],
        )
    });
    let einsum = floats().node(
        "Einsum",
        &["x"; 8],
        &["y"],
        &[system_tests::model::string("equation", "a,b,c,d,e,f,g,h->abcdefgh")],
    );
    let resize = floats().weights(&tensor("s", element::F32, &[1], &1e12_f32.to_le_bytes()));
    let resize = resize.node("Resize", &["x", "", "s"], &["y"], &[]);
    let long = json!([given("x", "FP32", &[200], &json!(vec![1; 200]))]);
    vec![
        Case::contained("ConstantOfShape with the caller's 2^40", zeros.model(), one("n", 1 << 40)),
        Case::contained("Range to the caller's 2^40", range.model(), one("n", 1 << 40)),
        Case::contained("OneHot with the caller's depth of 2^40", hot.model(), one("n", 1 << 40)),
        Case::contained("Pad by the caller's 2^40", pad.model(), one("n", 1 << 40)),
        Case::contained("TopK with k = 2^62", top.model(), one("n", 1 << 62)),
        Case::contained("TopK with k = -1", top_of_none(), one("n", -1)),
        Case::contained(
            "a length squared eight times",
            squares.node("Abs", &["f7"], &["y"], &[]).model(),
            two(),
        ),
        Case::contained(
            "a length doubled sixty times",
            doubled.node("Abs", &["t59"], &["y"], &[]).model(),
            two(),
        ),
        Case::contained("Einsum with eight output dimensions", einsum.model(), long),
        Case::contained("Resize by 10^12", resize.model(), two()),
        Case::contained(
            "a Constant without data",
            Graph::new()
                .node("Constant", &[], &["y"], &[value("value", &[])])
                .result("y", element::F32)
                .model(),
            json!([]),
        ),
    ]
}

fn top_of_none() -> Vec<u8> {
    let top = counted(element::I64).weights(&numbers("d", &[1, 2, 3])).weights(&numbers("a", &[1]));
    top.node("Reshape", &["n", "a"], &["k"], &[])
        .node("TopK", &["d", "k"], &["y", "i"], &[])
        .model()
}
