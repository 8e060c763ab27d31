use super::*;

fn names(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect()
}

fn value(name: &str) -> ValueInfo {
    ValueInfo::tensor(name, ElementType::FLOAT, &[Size::Open])
}

/// `y = if c { x + w } else { x }`, where the first branch has a value of its own called `t`.
fn branches() -> Graph {
    let mut then = Graph::new("then");
    then.nodes.push(Node::new("Relu", &["x"], &["t"]));
    then.nodes.push(Node::new("Add", &["t", "w"], &["sum"]));
    then.outputs.push(value("sum"));
    let other = Graph { outputs: vec![value("x")], ..Graph::new("else") };
    let branch = Node::new("If", &["c"], &["y"]).named("if");
    let mut graph = Graph::new("main");
    graph.inputs.push(value("x"));
    graph.inputs.push(value("c"));
    graph.initialisers.push(Tensor::new("w", &[1], &[1.0_f32]));
    graph.nodes.push(Node::new("Relu", &["x"], &["dead"]));
    graph.nodes.push(branch.with("then_branch", then).with("else_branch", other));
    graph.outputs.push(value("y"));
    graph.value_infos.push(value("dead"));
    let quantised = Entry::new("SCALE_TENSOR", "w");
    graph.annotations.push(Annotation { value: "x".into(), tensors: vec![quantised] });
    graph
}

#[test]
fn a_renamed_value_has_its_new_name_everywhere() {
    let mut graph = branches();
    graph.rename(&names(&[("x", "input"), ("w", "weights"), ("y", "output")])).expect("renamed");
    graph.check_order().expect("whole");
    assert_eq!((&graph.inputs[0].name[..], &graph.outputs[0].name[..]), ("input", "output"));
    assert_eq!(graph.annotations[0].value, "input");
    assert_eq!(graph.annotations[0].tensors[0].value, "weights");
    let then = graph.nodes[1].graphs().next().expect("a branch");
    assert_eq!(then.nodes[0].inputs, ["input"]);
    assert_eq!(then.nodes[1].inputs, ["t", "weights"]);
    assert_eq!(graph.nodes[1].graphs().nth(1).expect("a branch").outputs[0].name, "input");
    graph.rename(&names(&[("input", "output"), ("output", "input")])).expect("swapped");
    graph.check_order().expect("whole");
    assert_eq!((&graph.inputs[0].name[..], &graph.outputs[0].name[..]), ("output", "input"));
}

#[test]
fn a_graph_within_keeps_what_it_calls_by_an_outer_name() {
    let mut graph = branches();
    let branch = graph.nodes[1].graphs_mut().next().expect("a branch");
    branch.nodes.insert(0, Node::new("Abs", &["x"], &["dead"]));
    branch.nodes[1].inputs[0] = "dead".into();
    graph.rename(&names(&[("dead", "alive")])).expect("renamed");
    assert_eq!(graph.nodes[0].outputs, ["alive"]);
    let branch = graph.nodes[1].graphs().next().expect("a branch");
    assert_eq!(branch.nodes[0].outputs, ["dead"], "its own");
    assert_eq!(branch.nodes[1].inputs, ["dead"]);
}

#[test]
fn names_that_are_taken_or_unknown_are_refused_and_nothing_changes() {
    let before = branches();
    let mut graph = before.clone();
    for (pairs, wanted) in [
        (&[("z", "a")][..], "no value `z`"),
        (&[("t", "a")], "no value `t`"),
        (&[("x", "w")], "`w` already names"),
        (&[("x", "t")], "`t` already names"),
        (&[("x", "a"), ("w", "a")], "`a` already names"),
        (&[("x", "")], "`` already names"),
    ] {
        let said = graph.rename(&names(pairs)).expect_err(wanted).to_string();
        assert!(said.contains(wanted), "{said}");
        assert_eq!(graph, before);
    }
    let mut placed = before.clone();
    placed.nodes[0].devices = vec![(10, Bytes::new())];
    let said = placed.rename(&names(&[("x", "a")])).expect_err("devices").to_string();
    assert!(said.contains("(Relu)") && said.contains("device configurations"), "{said}");
    let mut trained = Model::new(before, 13);
    trained.training.push(Training::default());
    assert_eq!(trained.rename(&names(&[("x", "a")])), Err(EditError::Training));
    assert_eq!(trained.remove_unused(), Err(EditError::Training));
}

#[test]
fn what_nothing_needs_is_removed_with_what_was_said_of_it() {
    let mut graph = branches();
    graph.initialisers.push(Tensor::new("unused", &[1], &[1.0_f32]));
    let branch = graph.nodes[1].graphs_mut().next().expect("a branch");
    branch.nodes.push(Node::new("Neg", &["sum"], &["gone"]));
    let mut model = Model::new(graph, 13);
    let function = |name: &str, calls: &str| Function {
        name: name.into(),
        domain: "own".into(),
        nodes: vec![Node::new(calls, &[], &["a"]).of("own")],
        ..Function::default()
    };
    model.functions = vec![function("f", "g"), function("g", "h"), function("lonely", "f")];
    let branch = model.graph.nodes[1].graphs_mut().next().expect("a branch");
    branch.nodes.push(Node::new("f", &["sum"], &["called"]).of("own"));
    branch.outputs.push(value("called"));
    assert_eq!(model.remove_unused(), Ok(3));
    let names: Vec<_> = model.functions.iter().map(|function| &function.name[..]).collect();
    assert_eq!(names, ["f", "g"]);
    assert_eq!((model.graph.nodes.len(), model.graph.initialisers.len()), (1, 1));
    assert!(model.graph.value_infos.is_empty());
    assert_eq!(model.graph.nodes[0].graphs().next().expect("a branch").nodes.len(), 3);
    model.graph.check_order().expect("whole");
    assert_eq!(model.remove_unused(), Ok(0));
}

#[test]
fn nodes_are_put_in_order_and_a_circle_is_named() {
    let mut graph = branches();
    graph.nodes[1].inputs[0] = "dead".into();
    graph.nodes.reverse();
    let said = graph.check_order().expect_err("in no order").to_string();
    assert!(said.contains("node `if` (If) reads `dead` before it is computed"), "{said}");
    graph.sort().expect("there is an order");
    graph.check_order().expect("in order");
    let sorted = graph.clone();
    graph.sort().expect("sorted");
    assert_eq!(graph, sorted, "what need not move stays");
    // A graph within reads what comes later.
    let branch = graph.nodes[1].graphs_mut().next().expect("a branch");
    branch.nodes[0].inputs[0] = "y".into();
    assert!(matches!(graph.check_order(), Err(EditError::Order { .. })));
    graph.nodes[0].inputs[0] = "y".into();
    assert!(matches!(graph.sort(), Err(EditError::Circle { .. })));
    graph.nodes[0].inputs[0] = "nowhere".into();
    let said = graph.check_order().expect_err("unknown").to_string();
    assert!(said.contains("reads `nowhere`, which nothing in the graph defines"), "{said}");
    let mut twice = branches();
    twice.nodes[0].outputs[0] = "y".into();
    assert!(matches!(twice.check_order(), Err(EditError::Twice { .. })));
    let mut missing = branches();
    missing.outputs[0].name = "nothing".into();
    assert!(matches!(missing.check_order(), Err(EditError::Unknown { .. })));
}

#[test]
fn nodes_are_replaced_and_inserted_and_names_stay_unique() {
    let mut graph = branches();
    let two = || vec![Node::new("Neg", &["x"], &["m"]), Node::new("Abs", &["m"], &["dead"])];
    let old = graph.replace(0, two()).expect("replaced");
    assert_eq!(old.operator, "Relu");
    graph.check_order().expect("whole");
    let before = graph.clone();
    let clash = vec![Node::new("Neg", &["x"], &["w"]).named("clash")];
    let said = graph.insert(0, clash).expect_err("taken").to_string();
    assert!(said.contains("node `clash` (Neg) and another define `w`"), "{said}");
    let clash = vec![Node::new("Neg", &["x"], &["q"]), Node::new("Neg", &["x"], &["q"])];
    assert!(matches!(graph.replace(0, clash), Err(EditError::Twice { .. })));
    assert!(graph.add_initialiser(Tensor::new("x", &[], &[1_i64])).is_err());
    assert_eq!(graph, before);
    graph.insert(usize::MAX, vec![Node::new("Neg", &["y"], &["z"])]).expect("at the end");
    graph.add_initialiser(Tensor::new("v", &[1], &[1.0_f32])).expect("new");
    graph.replace_uses("w", "v");
    let branch = graph.nodes[2].graphs().next().expect("a branch");
    assert_eq!(branch.nodes[1].inputs, ["t", "v"]);
    graph.replace_uses("y", "x");
    assert_eq!((&graph.outputs[0].name[..], &graph.nodes[3].inputs[0][..]), ("y", "x"));
    graph.check_order().expect("whole");
}

#[test]
fn fresh_names_differ_from_all_others_and_are_the_same_each_time() {
    let mut model = Model::new(branches(), 13);
    model.graph.nodes.push(Node::new("Relu", &["x"], &["hospes/scale"]).named("hospes/scale_1"));
    let fresh = |model: &Model| {
        let mut names = Names::of(model);
        [names.fresh("scale"), names.fresh("scale"), names.fresh("t")]
    };
    assert_eq!(fresh(&model), ["hospes/scale_2", "hospes/scale_3", "hospes/t"]);
    assert_eq!(fresh(&model), fresh(&model.clone()));
}

#[test]
fn a_name_means_what_the_nearest_graph_says() {
    let mut model = Model::new(branches(), 13);
    let constant = Tensor::new("", &[], &[4_i64]);
    model.graph.nodes.insert(0, Node::new("Constant", &[], &["four"]).with("value", constant));
    model.functions.push(Function {
        inputs: vec!["x".into()],
        nodes: vec![Node::new("Neg", &["x"], &["y"])],
        ..Function::default()
    });
    let mut seen = Vec::new();
    let walked: Result<(), ()> = model.walk(|scope, node| {
        let origins: Vec<_> =
            node.inputs.iter().map(|name| scope.find(name).map(|(_, origin)| origin)).collect();
        seen.push((node.operator.clone(), scope.is_outermost(), origins));
        if node.operator == "Add" {
            let weights = scope.constant("w").expect("an initialiser around it");
            assert_eq!(*weights.elements::<f32>().expect("floats"), [1.0]);
            let four = scope.constant("four").expect("a constant");
            assert_eq!(*four.elements::<i64>().expect("numbers"), [4]);
            assert_eq!(scope.source("t").expect("a node").operator, "Relu");
            assert_eq!((scope.constant("x"), scope.constant("t")), (None, None));
            assert!(scope.find("unknown").is_none());
        }
        Ok(())
    });
    walked.expect("to its end");
    let operators: Vec<_> = seen.iter().map(|(operator, ..)| &operator[..]).collect();
    assert_eq!(operators, ["Constant", "Relu", "If", "Relu", "Add", "Neg"]);
    assert!(!seen[3].1 && seen[5].1);
    assert_eq!(seen[4].2, [Some(Origin::Node(0)), Some(Origin::Initialiser(0))]);
    assert_eq!(seen[5].2, [Some(Origin::Input)]);
    let stopped = model.walk(|_, node| if node.operator == "If" { Err(7) } else { Ok(()) });
    assert_eq!(stopped, Err(7));
}

#[test]
fn an_initialiser_that_callers_may_override_is_not_constant() {
    let mut model = Model::new(branches(), 13);
    model.graph.inputs.push(value("w"));
    let walked: Result<(), ()> = model.walk(|scope, _| {
        assert_eq!(scope.constant("w"), None);
        Ok(())
    });
    walked.expect("to its end");
    assert_eq!(model.graph.stated_type("y"), Some(Type::tensor(ElementType::FLOAT, &[Size::Open])));
    let weights = Tensor::new("v", &[2, 3], &[0_u8; 6]);
    model.graph.add_initialiser(weights).expect("new");
    let ty = model.graph.stated_type("v").expect("known");
    assert_eq!(ty, Type::tensor(ElementType::UINT8, &[2.into(), 3.into()]));
    assert_eq!(model.graph.stated_type("unknown"), None);
}

/// A chain of nodes with branches, each of which reads values that precede it.
fn chain() -> impl Strategy<Value = Graph> {
    let step = (any::<usize>(), any::<usize>(), any::<bool>());
    proptest::collection::vec(step, 1..10).prop_map(|steps| {
        let mut graph = Graph::new("g");
        graph.inputs.push(value("v0"));
        graph.initialisers.push(Tensor::new("v1", &[1], &[1.0_f32]));
        for (index, (one, two, has_branch)) in steps.into_iter().enumerate() {
            let known = index + 2;
            let (one, two) = (format!("v{}", one % known), format!("v{}", two % known));
            let output = format!("v{known}");
            let mut node = Node::new("Add", &[&one, &two], &[&output]);
            if has_branch {
                let mut inner = Graph::new("inner");
                inner.nodes.push(Node::new("Add", &[&one, &two], &["own"]));
                inner.nodes.push(Node::new("Neg", &["own"], &[&format!("own{index}")]));
                inner.outputs.push(value(&two));
                node = node.with("then_branch", inner);
            }
            graph.nodes.push(node);
        }
        let last = graph.nodes.last().expect("one").outputs[0].clone();
        graph.outputs.push(value(&last));
        graph
    })
}

proptest! {
    /// Renamed and renamed back, a graph is what it was; in between it is whole, and no old name is left.
    #[test]
    fn renaming_is_consistent(graph in chain(), chosen in proptest::collection::hash_set(0_usize..12, 0..8)) {
        let own: BTreeSet<String> = graph.origins().into_keys().map(str::to_owned).collect();
        let chosen: Vec<&String> =
            own.iter().enumerate().filter(|(at, _)| chosen.contains(at)).map(|(_, name)| name).collect();
        // Some become new names, the others take turns.
        let (fresh, turned) = chosen.split_at(chosen.len() / 2);
        let mut names: BTreeMap<String, String> =
            fresh.iter().map(|name| ((*name).clone(), format!("new {name}"))).collect();
        for (at, name) in turned.iter().enumerate() {
            names.insert((*name).clone(), turned[(at + 1) % turned.len()].clone());
        }
        let mut renamed = graph.clone();
        renamed.rename(&names).expect("renamed");
        prop_assert_eq!(renamed.check_order(), Ok(()));
        let left: HashSet<&str> = renamed.nodes.iter().flat_map(walk::reads).collect();
        for name in fresh {
            prop_assert!(!left.contains(name.as_str()) && !renamed.origins().contains_key(name.as_str()));
        }
        let back = names.into_iter().map(|(old, new)| (new, old)).collect();
        renamed.rename(&back).expect("renamed back");
        prop_assert_eq!(renamed, graph);
    }

    /// Whatever order the nodes are in, sorting finds one, and nothing that an output needs is removed.
    #[test]
    fn sorting_and_removing_keep_what_outputs_need(graph in chain(), turns in any::<usize>()) {
        let mut other = graph.clone();
        let turns = turns % other.nodes.len();
        other.nodes.rotate_left(turns);
        other.sort().expect("there is an order");
        prop_assert_eq!(other.check_order(), Ok(()));
        other.remove_unused();
        prop_assert_eq!(other.check_order(), Ok(()));
        let needs = |graph: &Graph| graph.nodes.iter().filter(|node| node.outputs[0] == graph.outputs[0].name).count();
        prop_assert_eq!(needs(&other), needs(&graph));
        prop_assert_eq!(other.remove_unused(), 0);
    }
}
