//! The host's side of `wit/`, generated.

/// The interface of the second version: only components with streams can import all of it.
pub mod language {
    wasmtime::component::bindgen!({
        path: [
            "../wit/deps/wasi-nn-0.2.0-rc-2024-10-28",
            "../wit/plugin.wit",
            "../wit/deps/hospes-plugin-0.2.0",
        ],
        inline: "package hospes:host; world speaks { import hospes:plugin/language@0.2.0; }",
        world: "hospes:host/speaks",
        imports: {
            // Async: each waits for the model's engine.
            "hospes:plugin/language.open": async | trappable,
            "hospes:plugin/language.count": async | trappable,
            "hospes:plugin/language.[method]sequence.append": async | trappable,
            "hospes:plugin/language.[method]sequence.fork": async | trappable,
            "hospes:plugin/language.[method]sequence.truncate": async | trappable,
            "hospes:plugin/language.[method]sequence.next": async | trappable,
            "hospes:plugin/language.[method]sequence.hidden": async | trappable,
            "hospes:plugin/language.[method]sequence.generate": async | store | trappable,
            default: trappable,
        },
        with: {
            "hospes:plugin/language.sequence": crate::sandbox::language::GuestSequence,
        },
    });
}

wasmtime::component::bindgen!({
    path: ["../wit/deps/wasi-nn-0.2.0-rc-2024-10-28", "../wit/plugin.wit"],
    world: "hospes:plugin/plugin",
    imports: {
        // Async: one queues tensors for inference, the other may copy a large tensor on another thread.
        "wasi:nn/inference.[method]graph-execution-context.compute": async | trappable,
        "wasi:nn/tensor.[method]tensor.data": async | trappable,
        default: trappable,
    },
    with: {
        "wasi:nn/tensor.tensor": super::wasi_nn::GuestTensor,
        "wasi:nn/graph.graph": super::wasi_nn::GuestGraph,
        "wasi:nn/inference.graph-execution-context": super::wasi_nn::GuestContext,
        "wasi:nn/errors.error": super::wasi_nn::GuestError,
    },
});
