//! What a guest can reach: the host's interfaces and nothing else.
//!
//! A capability that is not linked cannot be used at all: a component that imports it does not even deploy. There are
//! two lists: the plugin world, and for components made by other toolchains also the part of WASI that gives nothing
//! away (clocks, random numbers, captured output, an empty file system). Sockets and HTTP are in neither; interpreters that import
//! sockets whether or not they are used get functions that end the call.

use wasmtime::Engine;
use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::random::WasiRandom;

use super::bindings::Plugin;
use super::context::CallState;

/// Links the plugin world: `wasi:nn` and what a guest may ask about its call.
pub(super) fn plugin(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    Plugin::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    Ok(linker)
}

/// Links the plugin world and the harmless part of WASI 0.2.
pub(super) fn plugin_with_wasi(engine: &Engine) -> wasmtime::Result<Linker<CallState>> {
    type T = CallState;
    let mut linker = plugin(engine)?;
    let l = &mut linker;
    wasmtime_wasi_io::add_to_linker_async(l)?;
    clocks::wall_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    clocks::monotonic_clock::add_to_linker::<T, WasiClocks>(l, T::clocks)?;
    random::random::add_to_linker::<T, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure::add_to_linker::<T, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<T, WasiRandom>(l, |state| state.ctx().ctx.random())?;
    filesystem::types::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    filesystem::preopens::add_to_linker::<T, WasiFilesystem>(l, T::filesystem)?;
    cli::exit::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::environment::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_input::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_output::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdin::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stdout::add_to_linker::<T, WasiCli>(l, T::cli)?;
    cli::terminal_stderr::add_to_linker::<T, WasiCli>(l, T::cli)?;
    Ok(linker)
}

/// Interfaces that [`plugin_with_wasi`] has, by how their names begin.
const KNOWN: [&str; 7] = [
    "hospes:plugin/",
    "wasi:nn/",
    "wasi:io/",
    "wasi:clocks/",
    "wasi:random/",
    "wasi:filesystem/",
    "wasi:cli/",
];
const SOCKETS: &str = "wasi:sockets/";

/// The same list for a component that imports sockets and nothing else that is unknown: each of their functions ends the call that
/// reaches for it. None for every other component.
pub(super) fn without_sockets(
    linker: &Linker<CallState>,
    component: &Component,
) -> wasmtime::Result<Option<Linker<CallState>>> {
    let ty = component.component_type();
    let mut imports = ty.imports(linker.engine()).map(|(name, _)| name.to_owned());
    let is_known = |name: &String| KNOWN.iter().any(|known| name.starts_with(known));
    let unknown: Vec<String> = imports.by_ref().filter(|name| !is_known(name)).collect();
    if unknown.is_empty() || !unknown.iter().all(|name| name.starts_with(SOCKETS)) {
        return Ok(None);
    }
    let mut linker = linker.clone();
    linker.define_unknown_imports_as_traps(component)?;
    Ok(Some(linker))
}
