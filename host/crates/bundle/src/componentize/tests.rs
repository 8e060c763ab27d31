use wit_component::{DecodedWasm, decode};

use super::*;

/// The interfaces and functions that a component imports and exports.
fn names(component: &[u8]) -> (Vec<String>, Vec<String>) {
    let DecodedWasm::Component(resolve, world) = decode(component).unwrap() else {
        panic!("not a component");
    };
    let world = &resolve.worlds[world];
    let name = |key| resolve.name_world_key(key);
    (world.imports.keys().map(name).collect(), world.exports.keys().map(name).collect())
}

/// A module for the world `plugin`, with the given imports and body, as a wasip1 toolchain would produce it.
fn guest(wat: &str) -> Vec<u8> {
    module_of(wat, "plugin").unwrap()
}

#[test]
fn the_builtin_guest_imports_only_what_it_uses() {
    let (imports, exports) = names(&passthrough().unwrap());
    assert_eq!(
        imports,
        [
            "wasi:nn/tensor@0.2.0-rc-2024-10-28",
            "wasi:nn/errors@0.2.0-rc-2024-10-28",
            "wasi:nn/inference@0.2.0-rc-2024-10-28",
            "wasi:nn/graph@0.2.0-rc-2024-10-28",
        ]
    );
    assert_eq!(exports, ["hospes:plugin/inference@0.1.0"]);
}

#[test]
fn the_builtin_guest_is_the_same_every_time() {
    assert_eq!(passthrough().unwrap(), passthrough().unwrap());
}

#[test]
fn a_component_is_left_as_it_is() {
    let component = passthrough().unwrap();
    assert_eq!(componentize(&component).unwrap(), component);
}

#[test]
fn a_wasip1_module_imports_the_log_and_no_wasi() {
    let component = componentize(&guest(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_sizes_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "environ_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
            (import "wasi_snapshot_preview1" "proc_exit" (func (param i32)))
            (memory (export "memory") 1))"#,
    ))
    .unwrap();
    assert_eq!(names(&component).0, ["hospes:plugin/logging@0.1.0"]);
}

#[test]
fn a_module_that_needs_no_adapter_gets_none() {
    let component = componentize(&guest(r#"(module (memory (export "memory") 1))"#)).unwrap();
    assert_eq!(names(&component), (vec![], vec![]));
}

#[test]
fn the_adapter_has_all_of_preview1() {
    let adapter = wat::parse_str(PREVIEW1).unwrap();
    let mut functions = 0;
    for payload in Parser::new(0).parse_all(&adapter) {
        if let wasmparser::Payload::ExportSection(section) = payload.unwrap() {
            functions += section.count();
        }
    }
    assert_eq!(functions, 46);
}

#[test]
fn what_is_not_a_guest_is_refused() {
    for bytes in [&b""[..], b"not wasm", b"\0asm", b"\0asm\x02\0\0\0"] {
        assert!(matches!(componentize(bytes), Err(ComponentizeError::NotWasm)), "{bytes:?}");
    }
    let foreign = guest(
        r#"(module (import "env" "gettimeofday" (func (param i32 i32) (result i32)))
            (memory (export "memory") 1))"#,
    );
    assert!(matches!(componentize(&foreign), Err(ComponentizeError::Encode(_))));
    let truncated = &foreign[..foreign.len() - 3];
    assert!(matches!(componentize(truncated), Err(ComponentizeError::Encode(_))));
}
