//! What a guest can reach: the host's interfaces and nothing else.
//!
//! A capability that is not linked cannot be used: a component that imports it does not deploy. There are two lists: the plugin world, and
//! for components of other toolchains also the harmless part of WASI (clocks, random numbers, captured output, an empty file system, HTTP
//! types). Nothing leads outside: outgoing requests are denied. Interpreters import sockets even if they do not use them; they get
//! functions that end the call.

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, ResourceType};
use wasmtime::{Engine, bail};
use wasmtime_wasi::WasiView as _;
use wasmtime_wasi::cli::{WasiCli, WasiCliView as _};
use wasmtime_wasi::clocks::{WasiClocks, WasiClocksView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, clocks, filesystem, random};
use wasmtime_wasi::random::WasiRandom;

use super::bindings::Plugin;
use super::bindings::language::Speaks;
use super::context::CallState;
use super::engine::Kind;
use super::http;

/// Links the plugin world: `wasi:nn` and what a guest may ask about its call; with streams also language models.
pub(super) fn plugin(engine: &Engine, kind: Kind) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    Plugin::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    if kind == Kind::Streams {
        Speaks::add_to_linker::<_, HasSelf<CallState>>(&mut linker, |state| state)?;
    }
    Ok(linker)
}

/// Links the plugin world and the harmless part of WASI 0.2; with streams also that of WASI 0.3.
pub(super) fn plugin_with_wasi(engine: &Engine, kind: Kind) -> wasmtime::Result<Linker<CallState>> {
    type T = CallState;
    let mut linker = plugin(engine, kind)?;
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
    http::link_preview2(l)?;
    if kind == Kind::Streams {
        wasmtime_wasi::p3::clocks::add_to_linker(l)?;
        wasmtime_wasi::p3::random::add_to_linker(l)?;
        wasmtime_wasi::p3::cli::add_to_linker(l)?;
        wasmtime_wasi::p3::filesystem::add_to_linker(l)?;
        http::link_preview3(l)?;
    }
    Ok(linker)
}

/// Prefix of the socket interfaces' names.
const SOCKETS: &str = "wasi:sockets/";

/// The resources of those interfaces, each where it is defined; the others only use them.
const SOCKET_RESOURCES: [(&str, &str); 6] = [
    ("network", "network"),
    ("tcp", "tcp-socket"),
    ("udp", "udp-socket"),
    ("udp", "incoming-datagram-stream"),
    ("udp", "outgoing-datagram-stream"),
    ("ip-name-lookup", "resolve-address-stream"),
];

/// A resource that never has an instance.
struct NoSocket;

/// The linker for a component that imports sockets: each of their functions ends the call. `None` for other components.
pub(super) fn without_sockets(
    linker: &Linker<CallState>,
    component: &Component,
) -> wasmtime::Result<Option<Linker<CallState>>> {
    let engine = linker.engine().clone();
    let ty = component.component_type();
    let sockets = ty.imports(&engine).filter(|(name, _)| name.starts_with(SOCKETS));
    let mut stubbed: Option<Linker<CallState>> = None;
    for (name, import) in sockets {
        let ComponentItem::ComponentInstance(exports) = import.ty else { continue };
        let interface = name.trim_start_matches(SOCKETS).split('@').next().unwrap_or_default();
        let mut instance = stubbed.get_or_insert_with(|| linker.clone()).instance(name)?;
        for (export, item) in exports.exports(&engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => {
                    instance.func_new(export, |_, _, _, _| bail!("there are no sockets here"))?;
                }
                ComponentItem::Resource(_) if SOCKET_RESOURCES.contains(&(interface, export)) => {
                    instance.resource(export, ResourceType::host::<NoSocket>(), |_, _| Ok(()))?;
                }
                _ => {}
            }
        }
    }
    Ok(stubbed)
}
