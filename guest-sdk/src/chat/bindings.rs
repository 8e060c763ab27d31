//! The generated bindings of a plugin that converses.

#![allow(missing_docs, reason = "generated; the documentation is in the WIT")]

wit_bindgen::generate!({
    world: "hospes:plugin/conversing@0.2.0",
    path: [
        "../wit/deps/wasi-nn-0.2.0-rc-2024-10-28",
        "../wit/plugin.wit",
        "../wit/deps/hospes-plugin-0.2.0",
    ],
    pub_export_macro: true,
    default_bindings_module: "hospes_sdk::chat::bindings",
    runtime_path: "::hospes_sdk::__private::wit_bindgen::rt",
    generate_all,
    with: {
        "wasi:nn/tensor@0.2.0-rc-2024-10-28": crate::bindings::wasi::nn::tensor,
        "wasi:nn/graph@0.2.0-rc-2024-10-28": crate::bindings::wasi::nn::graph,
        "wasi:nn/inference@0.2.0-rc-2024-10-28": crate::bindings::wasi::nn::inference,
        "wasi:nn/errors@0.2.0-rc-2024-10-28": crate::bindings::wasi::nn::errors,
        "hospes:plugin/call@0.1.0": crate::bindings::hospes::plugin::call,
        "hospes:plugin/logging@0.1.0": crate::bindings::hospes::plugin::logging,
    },
});
