//! Writes the part of the `plugin!` macro that contains the path of the WIT of `hospes:plugin`. Paths in `wit_bindgen::generate!` are relative
//! to the plugin's own crate, so only an absolute path works for all plugins.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let sdk = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let wit = sdk.join("../wit").canonicalize().expect("the folder `wit` lies beside the SDK");
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let quoted = |path: PathBuf| format!("{:?}", path.to_str().expect("UTF-8 path"));
    let macros = include_str!("src/bind.rs.in")
        .replace("@WASI_NN@", &quoted(wit.join("deps/wasi-nn-0.2.0-rc-2024-10-28")))
        .replace("@PLUGIN@", &quoted(wit.join("plugin.wit")))
        .replace("@LANGUAGE@", &quoted(wit.join("deps/hospes-plugin-0.2.0")));
    fs::write(out.join("bind.rs"), macros).expect("the output folder is writable");
}
