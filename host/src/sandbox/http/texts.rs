//! Texts in a guest's outgoing requests: limited, and charged as its call's memory.
//!
//! Such requests are denied, but the library keeps their texts as long as the guest keeps the handles, without any limit. So the functions
//! that keep a text are linked again, over the originals, with a limit.

use wasmtime::component::{ComponentType, Lift, Linker, LinkerInstance, Resource};
use wasmtime::{Result, StoreContextMut, bail};
use wasmtime_wasi_http::p2::bindings::http::types as types2;
use wasmtime_wasi_http::p2::bindings::http::types::{Method as Method2, Scheme as Scheme2};
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::p3::Request;
use wasmtime_wasi_http::p3::bindings::http::types as types3;
use wasmtime_wasi_http::p3::bindings::http::types::{Method as Method3, Scheme as Scheme3};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView as _};

use crate::sandbox::context::CallState;

/// Maximum length in bytes; a longer text is rejected as invalid. Most servers accept no longer paths either.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// A field that may hold a text.
trait Text: Sized {
    fn bytes(&self) -> usize;
}

impl<T: Text> Text for Option<T> {
    fn bytes(&self) -> usize {
        self.as_ref().map_or(0, Text::bytes)
    }
}

impl Text for String {
    fn bytes(&self) -> usize {
        self.len()
    }
}

macro_rules! other {
    ($($kind:ident),*) => {$(
        impl Text for $kind {
            fn bytes(&self) -> usize {
                match self {
                    $kind::Other(text) => text.len(),
                    _ => 0,
                }
            }
        }
    )*};
}
other!(Method2, Scheme2, Method3, Scheme3);

/// The result type of WASI's setters.
type Set = std::result::Result<(), ()>;

fn bound<R: 'static, T>(
    types: &mut LinkerInstance<'_, CallState>,
    name: &str,
    set: fn(&mut WasiHttpCtxView<'_>, Resource<R>, T) -> Result<Set>,
) -> Result<()>
where
    T: Text + ComponentType + Lift + Send + Sync + 'static,
{
    types.func_wrap(
        name,
        move |mut store: StoreContextMut<'_, CallState>, (request, text): (Resource<R>, T)| {
            let bytes = text.bytes();
            if bytes > TEXT_BYTES_MAX {
                return Ok((Err(()),));
            }
            let state = store.data_mut();
            state.keep_text(bytes)?;
            Ok((set(&mut state.http(), request, text)?,))
        },
    )
}

/// The functions that keep a text.
const SETTERS: [&str; 4] = ["method", "scheme", "authority", "path-with-query"];

fn name_of(resource: &str, setter: &str) -> String {
    format!("[method]{resource}.set-{setter}")
}

/// Checks that these are linked already. If the library linked another version of the interface, the replacements would never be called,
/// and nothing would be limited.
fn expect_linked(linker: &mut Linker<CallState>, interface: &str, resource: &str) -> Result<()> {
    let mut types = linker.instance(interface)?;
    for setter in SETTERS {
        let name = name_of(resource, setter);
        let own = |_: StoreContextMut<'_, CallState>, (): ()| Ok(());
        if types.func_wrap(&name, own).is_ok() {
            bail!("the library does not link `{name}` of `{interface}`, so it cannot be limited");
        }
    }
    Ok(())
}

/// Links the setters of one WASI version again, with the limit.
macro_rules! setters {
    ($name:ident, $interface:expr, $resource:literal, $of:path, $request:ty, $method:ty, $scheme:ty) => {
        pub(super) fn $name(linker: &mut Linker<CallState>) -> Result<()> {
            use $of as Of;
            expect_linked(linker, $interface, $resource)?;
            linker.allow_shadowing(true);
            let t = &mut linker.instance($interface)?;
            let name = |setter: &str| name_of($resource, setter);
            bound::<$request, $method>(t, &name("method"), |to, request, text| {
                Of::set_method(to, request, text)
            })?;
            bound::<$request, Option<$scheme>>(t, &name("scheme"), |to, request, text| {
                Of::set_scheme(to, request, text)
            })?;
            bound::<$request, Option<String>>(t, &name("authority"), |to, request, text| {
                Of::set_authority(to, request, text)
            })?;
            bound::<$request, Option<String>>(t, &name("path-with-query"), |to, request, text| {
                Of::set_path_with_query(to, request, text)
            })?;
            linker.allow_shadowing(false);
            Ok(())
        }
    };
}
setters!(
    bound_preview2,
    "wasi:http/types@0.2.12",
    "outgoing-request",
    types2::HostOutgoingRequest,
    HostOutgoingRequest,
    Method2,
    Scheme2
);
setters!(
    bound_preview3,
    "wasi:http/types@0.3.0",
    "request",
    types3::HostRequest,
    Request,
    Method3,
    Scheme3
);

#[cfg(test)]
mod tests {
    use wasmtime::Engine;

    use super::*;

    #[test]
    fn what_the_library_does_not_link_cannot_be_bounded() {
        for bound in [bound_preview2, bound_preview3] {
            let error = bound(&mut Linker::new(&Engine::default())).expect_err("nothing is linked");
            assert!(error.to_string().contains("set-method` of `wasi:http/types@"), "{error}");
        }
    }
}
