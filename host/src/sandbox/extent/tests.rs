use std::time::{Duration, Instant};

use super::*;
use crate::bundle::NESTING_MAX;

const LIMITS: ExtentLimits = ExtentLimits {
    core_instances: 32,
    components: 256,
    definitions: 100_000,
    memories: 4,
    tables: 64,
};

fn measure(text: &str) -> Result<Extent, ExtentError> {
    Extent::measure(&wat::parse_str(text).expect("text"), &LIMITS)
}

/// Each level instantiates the one below twice; `core` is the lowest.
fn nested(levels: usize, core: &str) -> String {
    let mut text = format!("(component (component $c0 {core})");
    for level in 1..=levels {
        let below = level - 1;
        text += &format!(
            "(component $c{level} (instance (instantiate $c{below})) (instance (instantiate $c{below})))"
        );
    }
    text + &format!("(instance (instantiate $c{levels})))")
}

const CORE: &str =
    r#"(core module $m (memory 1) (table 1 funcref)) (core instance (instantiate $m))"#;

#[test]
fn instances_are_counted_through_all_levels() {
    let extent = measure(&nested(2, CORE)).expect("within the limits");
    assert_eq!((extent.core_instances, extent.components), (4, 7));
    assert_eq!((extent.memories, extent.tables), (4, 4));
}

#[test]
fn two_kilobytes_that_ask_for_a_billion_instances_are_refused_in_no_time() {
    let text = nested(30, "(core module $m) (core instance (instantiate $m))");
    let component = wat::parse_str(text).expect("text");
    assert!(component.len() < 3000, "{}", component.len());
    let began = Instant::now();
    let error = Extent::measure(&component, &LIMITS).expect_err("too many").to_string();
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert!(error.contains("32 core instances (`sandbox.instances_max`)"), "{error}");
}

#[test]
fn empty_components_count_too() {
    let error = measure(&nested(16, "")).expect_err("too many").to_string();
    assert!(error.contains("256 instances of components (`sandbox.components_max`)"), "{error}");
}

#[test]
fn memories_and_tables_are_multiplied() {
    let error = measure(&nested(3, CORE)).expect_err("eight memories").to_string();
    assert!(error.contains("4 memories"), "{error}");
    let tables = "(core module $m (table 1 funcref) (table 1 funcref) (table 1 funcref)) (core instance (instantiate $m))";
    let error = measure(&nested(5, tables)).expect_err("96 tables").to_string();
    assert!(error.contains("64 tables"), "{error}");
}

#[test]
fn what_is_handed_on_is_what_is_counted() {
    // The module is passed as an argument, exported from an instance, and aliased from outside.
    let extent = measure(
        r#"(component
            (core module $m (memory 1))
            (component $twice (import "m" (core module $x)) (core instance (instantiate $x)) (core instance (instantiate $x))
                (export "again" (core module $x)))
            (instance $i (instantiate $twice (with "m" (core module $m))))
            (alias export $i "again" (core module $a))
            (core instance (instantiate $a))
            (component $deep (component $deeper (alias outer 2 $m (core module $o)) (core instance (instantiate $o)))
                (instance (instantiate $deeper)))
            (instance (instantiate $deep)))"#,
    )
    .expect("within the limits");
    assert_eq!((extent.core_instances, extent.memories, extent.components), (4, 4, 3));
}

#[test]
fn components_that_are_arguments_are_instantiated_where_they_are_used() {
    let extent = measure(
        r#"(component
            (component $one (core module $m) (core instance (instantiate $m)))
            (component $twice (import "c" (component $x)) (instance (instantiate $x)) (instance (instantiate $x)))
            (instance $bundle (export "c" (component $one)))
            (alias export $bundle "c" (component $same))
            (instance (instantiate $twice (with "c" (component $same)))))"#,
    )
    .expect("within the limits");
    assert_eq!((extent.core_instances, extent.components), (2, 3));
}

#[test]
fn work_is_bounded_where_little_is_instantiated() {
    let types = "(type (func))".repeat(1000);
    let error = measure(&nested(7, &types)).expect_err("128,000 types").to_string();
    assert!(error.contains("100000 definitions (`sandbox.definitions_max`)"), "{error}");
}

#[test]
fn components_lie_only_so_deep_inside_each_other() {
    let deep = |levels| "(component".repeat(levels) + &")".repeat(levels);
    measure(&deep(NESTING_MAX)).expect("allowed");
    let error = measure(&deep(NESTING_MAX + 1)).expect_err("too deep").to_string();
    assert!(error.contains("64 nested components"), "{error}");
}

#[test]
fn what_lies_around_is_not_taken_in_for_ever() {
    // Each alias goes through sixty components.
    let aliases = "(alias outer 60 $m (core module))".repeat(2000);
    let text = format!(
        "(component (core module $m){}{aliases}{})",
        "(component".repeat(60),
        ")".repeat(60)
    );
    let error = measure(&text).expect_err("120,000 captures").to_string();
    assert!(error.contains("`sandbox.definitions_max`"), "{error}");
}

#[test]
fn core_modules_are_counted_wherever_they_are() {
    let error = measure(&format!("(component {})", "(core module)".repeat(257)));
    let error = error.expect_err("too many").to_string();
    assert!(error.contains("256 core modules"), "{error}");
}

#[test]
fn only_a_component_with_streams_needs_the_engine_for_streams() {
    let needs = |text: &str| needs_streams(&wat::parse_str(text).expect("text"));
    assert!(!needs(r#"(component (core module) (import "a" (func (param "x" (list u8)))))"#));
    assert!(needs(r#"(component (import "a" (func (result (stream u8)))))"#));
    assert!(needs(r#"(component (import "a" (func async (result u8))))"#));
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let component = wat::parse_str(nested(3, CORE)).expect("text");
    for length in 0..component.len() {
        let _ = Extent::measure(&component[..length], &LIMITS);
        let mut damaged = component.clone();
        damaged[length] ^= 0xff;
        let _ = Extent::measure(&damaged, &LIMITS);
    }
}
