//! Makes a component from the output of a guest toolchain, and the built-in guest of a bundle with a model and no code.
//!
//! A `wasm32-wasip1` module gets Hospes's own adapter instead of the usual one. The adapter turns standard output into log lines and denies
//! the rest, so that the component imports only what its world declares. The surprise: a module linked with a newer interface than the
//! adapter's is rejected at build time, not when it runs.

use std::error::Error as StdError;
use std::sync::LazyLock;

use wasmparser::Parser;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{PackageId, Resolve};

use hospes_core::id::Digest;

const PLUGIN_WIT: &str = include_str!("../../../../wit/plugin.wit");
const LANGUAGE_WIT: &str = include_str!("../../../../wit/deps/hospes-plugin-0.2.0/plugin.wit");
const WASI_NN_WIT: &str =
    include_str!("../../../../wit/deps/wasi-nn-0.2.0-rc-2024-10-28/wasi-nn.wit");
const PREVIEW1: &str = include_str!("preview1.wat");
const PASSTHROUGH: &str = include_str!("passthrough.wat");

/// Why no component could be made.
#[derive(Debug, thiserror::Error)]
pub enum ComponentizeError {
    #[error("this is not WebAssembly: build the plugin and name the resulting `.wasm` file")]
    NotWasm,
    #[error(
        "the module does not match its declared world, or imports something that plugins do not get: build it \
         for `wasm32-wasip1` or `wasm32-unknown-unknown` with hospes-sdk or wit-bindgen"
    )]
    Encode(#[source] Box<dyn StdError + Send + Sync>),
    #[error("the host's own WIT or adapter is broken")]
    Builtin(#[source] Box<dyn StdError + Send + Sync>),
}

/// Returns `wasm` itself if it is a component. Otherwise makes a component from this core module.
///
/// # Errors
/// If `wasm` is not WebAssembly, has no component type, or has an import that is neither in its world nor in the adapter.
pub fn componentize(wasm: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    if Parser::is_component(wasm) {
        return Ok(wasm.to_vec());
    }
    if !Parser::is_core_wasm(wasm) {
        return Err(ComponentizeError::NotWasm);
    }
    let adapter = module_of(PREVIEW1, "adapter")?;
    encode(wasm, Some(&adapter)).map_err(ComponentizeError::Encode)
}

/// The guest of a bundle without code. It exports `hospes:plugin/inference` and runs the model `model`. Its bytes are always the same.
///
/// # Errors
/// Never, unless this host was built from a tree whose WIT and guest do not match.
pub fn passthrough() -> Result<Vec<u8>, ComponentizeError> {
    let guest = module_of(PASSTHROUGH, "model")?;
    encode(&guest, None).map_err(ComponentizeError::Builtin)
}

/// Whether the component with this digest is the built-in guest.
pub fn is_passthrough(component: &Digest) -> bool {
    static BUILTIN: LazyLock<Option<Digest>> =
        LazyLock::new(|| passthrough().ok().map(|component| Digest::of(&component)));
    BUILTIN.as_ref() == Some(component)
}

/// The packages that a plugin's own WIT may include or use: `wasi:nn`, and `hospes:plugin` in each of its versions. Also returns the id of
/// its first version.
///
/// # Errors
/// Never, unless this host was built from a tree whose WIT is broken.
pub fn plugin_wit() -> Result<(Resolve, PackageId), ComponentizeError> {
    let mut resolve = Resolve::default();
    let broken = |error: Box<dyn StdError + Send + Sync>| ComponentizeError::Builtin(error);
    resolve.push_source("wasi-nn.wit", WASI_NN_WIT).map_err(|e| broken(e.into()))?;
    let package = resolve.push_source("plugin.wit", PLUGIN_WIT).map_err(|e| broken(e.into()))?;
    resolve.push_source("plugin-0.2.0.wit", LANGUAGE_WIT).map_err(|e| broken(e.into()))?;
    Ok((resolve, package))
}

/// Assembles one of the built-in modules and marks it as implementing a world of `hospes:plugin`.
fn module_of(wat: &str, world: &str) -> Result<Vec<u8>, ComponentizeError> {
    let mut module = wat::parse_str(wat).map_err(|e| ComponentizeError::Builtin(e.into()))?;
    let (resolve, package) = plugin_wit()?;
    resolve
        .select_world(&[package], Some(world))
        .and_then(|world| {
            embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        })
        .map_err(|e| ComponentizeError::Builtin(e.into()))?;
    Ok(module)
}

fn encode(
    module: &[u8],
    adapter: Option<&[u8]>,
) -> Result<Vec<u8>, Box<dyn StdError + Send + Sync>> {
    let mut encoder = ComponentEncoder::default().validate(true).module(module)?;
    if let Some(adapter) = adapter {
        encoder = encoder.adapter("wasi_snapshot_preview1", adapter)?;
    }
    Ok(encoder.encode()?)
}

#[cfg(test)]
mod tests;
