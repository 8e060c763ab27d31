//! The host's side of `wit/`, generated.

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
