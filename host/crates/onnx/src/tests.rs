use proptest::prelude::*;
use prost::Message as _;
use tract_onnx::pb::{GraphProto, ModelProto, TensorProto};

use super::*;

fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

pub(crate) fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

pub(crate) fn text(field: u64, text: &str) -> Vec<u8> {
    bytes(field, text.as_bytes())
}

fn model(graph: &[u8]) -> Vec<u8> {
    [number(1, 8), bytes(7, graph)].concat()
}

fn node(name: &str, operator: &str, more: &[u8]) -> Vec<u8> {
    bytes(1, &[text(3, name), text(4, operator), more.to_vec()].concat())
}

fn attribute(name: &str, more: &[u8]) -> Vec<u8> {
    bytes(5, &[text(1, name), more.to_vec()].concat())
}

/// A tensor of four bytes.
fn tensor(name: &str, more: &[u8]) -> Vec<u8> {
    [number(1, 4), number(2, 2), text(8, name), bytes(9, &[1; 4]), more.to_vec()].concat()
}

fn external() -> Vec<u8> {
    let entry = [text(1, "location"), text(2, "data/host.pem")].concat();
    [bytes(13, &entry), number(14, 1)].concat()
}

#[track_caller]
fn refused(model: &[u8]) -> String {
    check(model).expect_err("must be refused").to_string()
}

#[test]
fn a_plain_model_is_walked_and_its_operators_are_counted() {
    let graph = [
        text(2, "g"),
        bytes(5, &tensor("w", &[])),
        node("a", "Add", &[]),
        node("b", "Add", &text(7, "ai.onnx")),
        node("c", "Relu", &[]),
    ];
    let facts = check(&model(&graph.concat())).expect("sound");
    let counted: Vec<_> = facts.operators().iter().map(|o| (&o.name[..], o.count)).collect();
    assert_eq!(counted, [("Add", 2), ("Relu", 1)]);
    assert!(facts.is_bounded());
    let graph = [graph.concat(), node("d", "Range", &[])].concat();
    assert!(!check(&model(&graph)).expect("sound").is_bounded());
}

#[test]
fn a_shape_that_callers_give_makes_a_model_s_cost_unbounded() {
    let reshape =
        |shape: &str| node("r", "Reshape", &[text(1, "x"), text(1, shape), text(2, "y")].concat());
    let input = |name: &str| bytes(11, &text(1, name));
    let initialiser = bytes(5, &tensor("s", &[]));
    let constant = node(
        "c",
        "Constant",
        &[text(2, "s"), attribute("value", &bytes(5, &tensor("", &[])))].concat(),
    );
    let is_bounded =
        |fields: &[Vec<u8>]| check(&model(&fields.concat())).expect("sound").is_bounded();
    assert!(is_bounded(&[reshape("s"), input("x"), initialiser.clone()]));
    assert!(is_bounded(&[constant.clone(), reshape("s"), input("x")]));
    assert!(is_bounded(&[reshape(""), input("x")]), "left out, as axes may be");
    assert!(!is_bounded(&[reshape("s"), input("x"), input("s")]), "a caller says how large");
    let overridable = [reshape("s"), input("x"), initialiser.clone(), input("s")];
    assert!(!is_bounded(&overridable), "a caller may give another");
    let computed = node("a", "Abs", &[text(1, "x"), text(2, "s")].concat());
    assert!(!is_bounded(&[computed.clone(), reshape("s"), input("x")]));
    assert!(
        !is_bounded(&[constant.clone(), computed, reshape("s")]),
        "twice, and one is not constant"
    );
    for (operator, inputs) in [
        ("Slice", &["x", "s", "s", "", "n"][..]),
        ("ReduceSum", &["x", "n"]),
        ("TopK", &["x", "n"]),
        ("Split", &["x", "n"]),
    ] {
        let inputs: Vec<u8> = inputs.iter().flat_map(|name| text(1, name)).collect();
        let fields = [node("o", operator, &inputs), initialiser.clone(), input("x"), input("n")];
        assert!(!is_bounded(&fields), "{operator}");
    }
    // In a nested graph, the same name may refer to another value.
    let inner = bytes(6, &[text(2, "inner"), reshape("s")].concat());
    assert!(!is_bounded(&[node("o", "Abs", &attribute("body", &inner)), initialiser.clone()]));
    // In a function, the value depends on the caller.
    let body = [text(1, "Shaped"), text(10, "own"), text(4, "x"), text(4, "s")].concat();
    let body =
        [body, bytes(7, &[text(4, "Reshape"), text(1, "x"), text(1, "s")].concat())].concat();
    let call = node("f", "Shaped", &[text(7, "own"), text(1, "x"), text(1, "s")].concat());
    let graph = bytes(7, &[call, initialiser].concat());
    let facts = check(&[number(1, 8), graph, bytes(25, &body)].concat()).expect("sound");
    assert!(!facts.is_bounded());
    // The model may define a function `Constant` that is not constant.
    let own = [text(1, "Constant"), text(4, "x")].concat();
    let graph = bytes(7, &[constant, reshape("s")].concat());
    let facts = check(&[number(1, 8), graph, bytes(25, &own)].concat()).expect("sound");
    assert!(!facts.is_bounded());
}

#[test]
fn data_outside_the_model_is_refused_wherever_a_tensor_can_be() {
    let tensor = tensor("w", &external());
    let sparse = bytes(1, &tensor);
    let graph = bytes(5, &tensor);
    let in_node = |attribute: Vec<u8>| node("n", "Constant", &bytes(5, &attribute));
    let in_function = [text(4, "Constant"), bytes(5, &bytes(5, &tensor))].concat();
    let places = [
        ("an initialiser", model(&graph)),
        ("a sparse initialiser", model(&bytes(15, &sparse))),
        ("indices", model(&bytes(15, &bytes(2, &tensor)))),
        ("an attribute", model(&in_node(bytes(5, &tensor)))),
        ("attributes", model(&in_node(bytes(10, &tensor)))),
        ("a sparse attribute", model(&in_node(bytes(22, &sparse)))),
        ("sparse attributes", model(&in_node(bytes(23, &sparse)))),
        ("a graph within", model(&in_node(bytes(6, &graph)))),
        ("graphs within", model(&in_node(bytes(11, &graph)))),
        ("deep within", model(&in_node(bytes(6, &in_node(bytes(6, &graph)))))),
        ("a function", [model(&[]), bytes(25, &bytes(7, &in_function))].concat()),
        ("a function's defaults", [model(&[]), bytes(25, &bytes(11, &bytes(5, &tensor)))].concat()),
        ("training", [model(&[]), bytes(20, &bytes(1, &graph))].concat()),
        ("training's steps", [model(&[]), bytes(20, &bytes(2, &graph))].concat()),
    ];
    for (place, model) in places {
        let said = refused(&model);
        assert!(said.contains("refers to `data/host.pem` outside the model"), "{place}: {said}");
        assert!(said.contains("save_as_external_data=False"), "{place}: {said}");
    }
}

#[test]
fn either_half_of_external_data_is_enough_and_nothing_hides_it() {
    let outside = |more: &[u8]| {
        let said = refused(&model(&bytes(5, &tensor("w", more))));
        assert!(said.contains("outside the model") || said.contains("twice"), "{said}");
    };
    outside(&number(14, 1));
    outside(&number(14, 2));
    // A parser that truncates this to 32 bits, as for an enum, reads a 1.
    outside(&number(14, (1 << 32) + 1));
    outside(&bytes(13, &[]));
    outside(&bytes(13, &text(1, "offset")));
    // Some parsers use the first value, others the last.
    outside(&[number(14, 1), number(14, 0)].concat());
    outside(&[number(14, 0), number(14, 1)].concat());
    // With another encoding, some parsers take it for an unknown field, others report an error.
    let said = refused(&model(&bytes(5, &tensor("w", &bytes(14, &[1])))));
    assert!(said.contains("has the wrong content"), "{said}");
}

#[test]
fn what_parsers_merge_or_skip_is_refused() {
    let twice = [model(&[]), bytes(7, &bytes(5, &tensor("w", &external())))].concat();
    assert!(matches!(check(&twice).expect_err("twice").problem(), Problem::Doubled { .. }));
    let twice = model(&[text(2, "g"), text(2, "g")].concat());
    assert!(matches!(check(&twice).expect_err("twice").problem(), Problem::Doubled { .. }));
    let unknown = [model(&[]), bytes(99, &[])].concat();
    let refused = check(&unknown).expect_err("unknown");
    assert!(matches!(refused.problem(), Problem::UnknownField { number: 99, .. }));
    let group = [model(&[]), vec![0x3b]].concat();
    let refused = check(&group).expect_err("a group");
    assert_eq!(*refused.problem(), Problem::Wire(WireError::Group));
    assert_eq!(*check(&[]).expect_err("empty").problem(), Problem::NoGraph);
    // A file that is both protobuf and ONNX Runtime's own format: `producer_name` covers that format's marker.
    let both = [&[0x12, 6][..], b"xxORTM", &model(&[])].concat();
    assert_eq!(*check(&both).expect_err("both").problem(), Problem::OrtFormat);
}

#[test]
fn files_of_other_kinds_are_refused_with_what_to_do() {
    for (start, wanted) in [
        (&b"PK\x03\x04m/data.pkl"[..], "`hospes convert`"),
        (b"\x80\x04\x95", "a pickle"),
        (b"\x89HDF\r\n", "`hospes convert`"),
        (b"\0asm\x0d\0\x01\0", "already packed"),
    ] {
        let said = refused(start);
        assert!(said.contains("not an ONNX model") && said.contains(wanted), "{said}");
    }
    assert_eq!(foreign(&model(&[])), None);
}

#[test]
fn what_computes_by_files_and_libraries_is_refused() {
    let context = node("n", "EPContext", &text(7, "com.microsoft"));
    assert!(refused(&model(&context)).contains("`com.microsoft.EPContext` refers to a file"));
    let cache = node("n", "Any", &attribute("ep_cache_context", &bytes(4, b"cache.bin")));
    assert!(refused(&model(&cache)).contains("`ep_cache_context` refers to a file"));
    let custom = node("n", "Tokenizer", &text(7, "ai.onnx.contrib"));
    assert!(refused(&model(&custom)).contains("needs a custom library"));
    let locale =
        |name: &[u8]| model(&node("n", "StringNormalizer", &attribute("locale", &bytes(4, name))));
    check(&locale(b"en_US.UTF-8")).expect("a locale");
    for path in [&b"../../etc"[..], b"/etc/passwd", b"..", b"\xff", &[b'a'; 65]] {
        assert!(refused(&locale(path)).contains("`locale` is the name"), "{path:?}");
    }
    let entry = bytes(14, &[text(1, "ort_config"), text(2, "{}")].concat());
    assert!(refused(&[model(&[]), entry].concat()).contains("metadata `ort_config`"));
}

#[test]
fn an_error_says_where_in_words_that_are_escaped_and_short() {
    let inner = bytes(5, &tensor(&"long".repeat(100), &external()));
    let graph = [attribute("body", &bytes(6, &inner)), text(6, "")].concat();
    let said = refused(&model(&[node("line\nfeed", "Loop", &graph), text(2, "main")].concat()));
    assert!(!said.contains('\n'), "{said}");
    for part in ["graph `main`: ", "node `line\\nfeed` (Loop): ", "attribute `body`: ", "longlong"]
    {
        assert!(said.contains(part), "{said}");
    }
    assert!(said.len() < 600, "{said}");
}

#[test]
fn shapes_that_cannot_be_counted_and_tensors_without_data_are_refused() {
    let shape = |sizes: &[u64]| {
        let dims: Vec<u8> = sizes.iter().flat_map(|size| bytes(1, &number(1, *size))).collect();
        let ty = bytes(2, &bytes(1, &[number(1, 1), bytes(2, &dims)].concat()));
        model(&bytes(11, &[text(1, "x"), ty].concat()))
    };
    check(&shape(&[1 << 20, 1 << 20])).expect("fits");
    check(&shape(&[u64::MAX, 3])).expect("-1 is open");
    for sizes in [&[1 << 32, 1 << 32, 4][..], &[1 << 32, 1 << 32, 0], &[0, 1 << 32, 1 << 32]] {
        assert!(refused(&shape(sizes)).contains("more elements than can be counted"), "{sizes:?}");
    }
    assert!(refused(&shape(&[1; 33])).contains("dimensions"));

    let weights = |more: Vec<u8>| model(&bytes(5, &[text(8, "w"), more].concat()));
    let claims = |said: String| assert!(said.contains("a tensor claims"), "{said}");
    claims(refused(&weights([number(1, 1 << 40), number(2, 1)].concat())));
    claims(refused(&weights([number(1, 2), number(2, 1), bytes(9, &[0; 7])].concat())));
    claims(refused(&weights([number(1, 3), number(2, 7), bytes(7, &[1, 1])].concat())));
    check(&weights([number(1, 2), number(2, 1), bytes(9, &[0; 8])].concat())).expect("whole");
    check(&weights([number(1, 2), number(2, 22), bytes(5, &[1])].concat())).expect("4 bits each");
    check(&weights([number(1, 2), number(2, 8), bytes(6, b"a"), bytes(6, b"")].concat()))
        .expect("texts");
    let negative = refused(&weights([number(1, u64::MAX), number(2, 1)].concat()));
    assert!(negative.contains("a size below zero"), "{negative}");
    assert!(refused(&weights([number(1, 2), number(2, 99)].concat())).contains("type 99"));
}

#[test]
fn sparse_tensors_that_become_giants_are_refused() {
    let sparse = |size: u64| bytes(15, &[bytes(1, &tensor("w", &[])), number(3, size)].concat());
    check(&model(&sparse(1 << 20))).expect("16 MiB at most");
    assert!(refused(&model(&sparse(1 << 30))).contains("sparse tensors have more"));
    assert!(refused(&model(&sparse(1 << 23).repeat(3))).contains("sparse tensors have more"));
}

#[test]
fn nesting_and_numbers_are_bounded() {
    let mut graph = Vec::new();
    for _ in 0..100 {
        graph = node("n", "If", &attribute("then_branch", &bytes(6, &graph)));
    }
    assert!(refused(&model(&graph)).contains("nested more than 64 deep"));
    let mut ty = Vec::new();
    for _ in 0..100 {
        ty = bytes(4, &bytes(1, &ty));
    }
    assert!(refused(&model(&bytes(11, &bytes(2, &ty)))).contains("nested more than 64 deep"));
    let nodes = node("", "Add", &[]).repeat(NODES_MAX as usize + 1);
    assert!(refused(&model(&nodes)).contains("more than the 250000 nodes allowed"));
    let long = "n".repeat(NAME_BYTES_MAX + 1);
    assert!(refused(&model(&node(&long, "Add", &[]))).contains("4097 bytes"));
    assert!(refused(&model(&node("a\0b", "Add", &[]))).contains("holds a zero"));
    assert!(refused(&model(&bytes(2, &[0xff]))).contains("not UTF-8"));
}

fn function(name: &str, calls: &[&str]) -> Vec<u8> {
    let calls: Vec<u8> =
        calls.iter().flat_map(|call| bytes(7, &[text(4, call), text(7, "own")].concat())).collect();
    bytes(25, &[text(1, name), text(10, "own"), calls].concat())
}

#[test]
fn functions_are_counted_as_they_are_written_out() {
    let call = |name: &str| model(&bytes(1, &[text(4, name), text(7, "own")].concat()));
    let mut bomb = call("f0");
    for level in 0..20 {
        let next = format!("f{}", level + 1);
        bomb.extend(function(&format!("f{level}"), &[&next, &next]));
    }
    bomb.extend(function("f20", &[]));
    assert!(refused(&bomb).contains("with its functions inlined"));

    let ring = [call("a"), function("a", &["b"]), function("b", &["a"])].concat();
    assert!(refused(&ring).contains("calls itself"));
    let twice = [call("a"), function("a", &[]), function("a", &[])].concat();
    assert!(refused(&twice).contains("`own.a` is defined twice"));

    for order in [false, true] {
        let mut names: Vec<String> = (0..40).map(|level| format!("f{level}")).collect();
        let mut functions: Vec<Vec<u8>> =
            names.windows(2).map(|pair| function(&pair[0], &[&pair[1]])).collect();
        functions.push(function(&names.pop().expect("one"), &[]));
        if order {
            functions.reverse();
        }
        let chain = [call("f0"), functions.concat()].concat();
        assert!(refused(&chain).contains("call each other more than 32 deep"));
    }
}

#[test]
fn a_function_is_as_bounded_as_its_body() {
    let call = model(&bytes(1, &[text(4, "f"), text(7, "own")].concat()));
    let body = |operator: &str| {
        let node = bytes(7, &text(4, operator));
        [call.clone(), bytes(25, &[text(1, "f"), text(10, "own"), node].concat())].concat()
    };
    assert!(check(&body("Add")).expect("sound").is_bounded());
    assert!(!check(&body("Loop")).expect("sound").is_bounded());
    assert!(!check(&call).expect("sound").is_bounded(), "nobody defines it");
    // If a model defines its own `Add`, its body counts.
    let own = bytes(25, &[text(1, "Add"), bytes(7, &text(4, "Loop"))].concat());
    let own = [model(&node("n", "Add", &[])), own].concat();
    assert!(!check(&own).expect("sound").is_bounded());
}

proptest! {
    #[test]
    fn any_bytes_are_walked_to_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = check(&bytes);
    }

    /// Mutates a model with external data. If a mutant passes the check, no other parser may find external data in it.
    #[test]
    fn no_change_lets_external_data_through(changes in changes()) {
        let inner = node("n", "Add", &attribute("t", &bytes(5, &tensor("v", &external()))));
        let graph = [text(2, "g"), bytes(5, &tensor("w", &external())), inner];
        let mut model = model(&graph.concat());
        for (at, to) in changes {
            let at = at % model.len();
            model[at] = to;
        }
        if check(&model).is_ok() {
            let parsed = ModelProto::decode(&model[..]);
            prop_assert!(parsed.is_err() || parsed.is_ok_and(|model| is_whole(&model)), "{model:?}");
        }
    }
}

/// Up to five mutations: a position and a new byte. Most bytes are tags of tensor and graph fields.
fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let to =
        prop_oneof![any::<u8>(), (1_u8..16, 0_u8..8).prop_map(|(field, kind)| field << 3 | kind)];
    proptest::collection::vec((any::<usize>(), to), 1..6)
}

/// Whether tract's parser finds no external data in a model.
fn is_whole(model: &ModelProto) -> bool {
    fn tensor(tensor: &TensorProto) -> bool {
        tensor.external_data.is_empty() && tensor.data_location.unwrap_or(0) == 0
    }
    fn graph(parsed: &GraphProto) -> bool {
        parsed.initializer.iter().all(tensor)
            && parsed.node.iter().flat_map(|node| &node.attribute).all(|attribute| {
                attribute.t.iter().chain(&attribute.tensors).all(tensor)
                    && attribute.g.iter().chain(&attribute.graphs).all(graph)
            })
    }
    model.graph.iter().all(graph)
}
