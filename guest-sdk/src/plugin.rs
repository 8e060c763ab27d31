//! The macro that every plugin uses.

/// Makes this crate a plugin. It generates bindings for the world `$world` (`package/world`) in the crate's folder `wit/`, with the trait
/// `Guest` for its functions and the macro `export!`. It also sends panic messages to the host's log and installs the
/// [`arena`](crate::arena) allocator. Call it once, at the root of the crate.
///
/// The SDK contains `hospes:plugin` and `wasi:nn`, so the folder contains only the plugin's own WIT. Types that the world
/// uses from these packages are those in [`bindings`](crate::bindings).
///
/// ```
/// hospes_sdk::plugin!("acme:doubling/doubling");
///
/// struct Doubling;
///
/// impl Guest for Doubling {
///     fn double(numbers: Vec<f32>) -> Result<Vec<f32>, String> {
///         Ok(numbers.iter().map(|n| n * 2.0).collect())
///     }
/// }
///
/// export!(Doubling);
/// # fn main() {}
/// ```
///
/// A plugin that often frees and reallocates memory can keep Rust's default allocator:
///
/// ```
/// hospes_sdk::plugin!("acme:doubling/doubling", default_allocator);
/// # fn main() {}
/// ```
///
/// A plugin that exports an interface of version 0.2, such as `rerank`, names the feature: `plugin!("acme:ranking/ranking", language)`. Its
/// world includes `hospes:plugin/plugin@0.2.0`. It keeps Rust's default allocator.
#[macro_export]
macro_rules! plugin {
    ($world:literal) => {
        $crate::plugin!($world, default_allocator);

        #[cfg(target_arch = "wasm32")]
        #[global_allocator]
        static __HOSPES_ARENA: $crate::arena::Arena = $crate::arena::Arena::new();
    };
    ($world:literal, default_allocator) => {
        $crate::__bind!($world);
        $crate::__install!();
    };
    ($world:literal, language) => {
        $crate::__bind_language!($world);
        $crate::__install!();
    };
}

/// Sends panic messages to the host's log.
#[doc(hidden)]
#[macro_export]
macro_rules! __install {
    () => {
        // The generated exports run the module's constructors first.
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            extern "C" fn install() {
                $crate::__private::install();
            }

            #[used]
            #[unsafe(link_section = ".init_array")]
            static INSTALL: extern "C" fn() = install;
        };
    };
}
