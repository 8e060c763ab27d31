//! Bundles of the built plugins and of guests written as text.

use std::path::{Path, PathBuf};

use hospes::backend::{BackendKind, Device};
use hospes::bundle::{
    self, Card, Description, FunctionSpec, ModelInput, RequestedLimits, componentize, plugin_wit,
};
use wit_component::{StringEncoding, embed_component_metadata};

/// The root folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace").to_owned()
}

/// A file built by the Makefile, by its path below `target/`.
///
/// # Panics
/// If it is missing; the message says what to do.
pub fn built(path: &str) -> PathBuf {
    let path = workspace().join("target").join(path);
    assert!(path.exists(), "`{}` is missing: `make test` builds it first", path.display());
    path
}

/// The unsigned bundle of a plugin.
pub fn plugin(name: &str) -> Vec<u8> {
    std::fs::read(built(&format!("plugins/{name}.wasm"))).expect("readable")
}

/// An unsigned bundle of `tests/guests/<name>.wat`, a core module. Its first line gives its world:
/// `;; world: import …; export …;`. Exported functions become the bundle's functions; functions of
/// an interface do if the next line names them: `;; functions: name=export`.
pub fn wat_guest(name: &str, models: &[ModelInput]) -> Vec<u8> {
    wat_guest_as(name, name, models)
}

/// The same under another name.
pub fn wat_guest_as(guest: &str, name: &str, models: &[ModelInput]) -> Vec<u8> {
    let path = workspace().join("tests/guests").join(format!("{guest}.wat"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text_guest(&text, name, models)
}

/// The same from a text instead of a file.
pub fn text_guest(text: &str, name: &str, models: &[ModelInput]) -> Vec<u8> {
    let first = text.lines().next().unwrap_or_default();
    let world = first.strip_prefix(";; world:").expect("the first line is the world");
    let component = component(text, world);
    let named = text.lines().nth(1).and_then(|line| line.strip_prefix(";; functions: "));
    let plain = world.split("export ").skip(1).filter_map(|item| item.split(':').next());
    let functions: Vec<(&str, &str)> = match named {
        Some(named) => named.split(' ').filter_map(|function| function.split_once('=')).collect(),
        None => plain.map(|name| (name.trim(), name.trim())).collect(),
    };
    let functions = functions.into_iter().map(|(name, export)| FunctionSpec {
        name: name.parse().expect("a function's name"),
        export: export.parse().expect("an export"),
        docs: None,
    });
    let description = Description {
        name: name.parse().expect("a label"),
        version: semver::Version::new(1, 0, 0),
        licence: "MIT".parse().expect("a licence"),
        summary: "A guest of the tests".into(),
        card: Card::default(),
        functions: functions.collect(),
        types: Vec::new(),
        limits: RequestedLimits::default(),
        origin: Default::default(),
    };
    let mut out = Vec::new();
    bundle::pack(&component, description, models, &mut out).expect("packed");
    out
}

/// An unsigned bundle of a model without code.
pub fn model_bundle(name: &str, model: Vec<u8>, backend: Option<BackendKind>) -> Vec<u8> {
    codeless((name, "1.0.0"), model, backend, None)
}

/// The same in another version.
pub fn release(name: &str, version: &str, model: Vec<u8>) -> Vec<u8> {
    codeless((name, version), model, None, None)
}

/// The same for a model that takes any number of rows along its first axis.
pub fn batched_bundle(name: &str, model: Vec<u8>) -> Vec<u8> {
    codeless((name, "1.0.0"), model, None, Some(0))
}

fn codeless(
    (name, version): (&str, &str),
    model: Vec<u8>,
    backend: Option<BackendKind>,
    batch_axis: Option<u32>,
) -> Vec<u8> {
    let description = Description {
        name: name.parse().expect("a label"),
        version: version.parse().expect("a version"),
        licence: "MIT".parse().expect("a licence"),
        summary: "A model of the tests".into(),
        card: Card::default(),
        functions: vec![FunctionSpec {
            name: "infer".parse().expect("a function's name"),
            export: "hospes:plugin/inference@0.1.0#infer".parse().expect("an export"),
            docs: None,
        }],
        types: Vec::new(),
        limits: RequestedLimits::default(),
        origin: Default::default(),
    };
    let model = ModelInput { batch_axis, backend, ..model_input("model", model) };
    let mut out = Vec::new();
    let component = bundle::passthrough().expect("the built-in guest");
    bundle::pack(&component, description, &[model], &mut out).expect("packed");
    out
}

/// A model to be put in a bundle.
pub fn model_input(name: &str, model: Vec<u8>) -> ModelInput {
    ModelInput {
        name: name.parse().expect("a name"),
        encoding: bundle::Encoding::Onnx,
        batch_axis: None,
        device: Device::Any,
        backend: None,
        pin: None,
        source: bundle::Source::Bytes(model.into()),
    }
}

pub(crate) fn component(module: &str, world: &str) -> Vec<u8> {
    let mut module = wat::parse_str(module).expect("a module");
    let (mut resolve, _) = plugin_wit().expect("the host's WIT");
    let text = format!("package test:guest; world guest {{ {world} }}");
    let package = resolve.push_source("guest.wit", &text).expect("a world");
    let world = resolve.select_world(&[package], Some("guest")).expect("a world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embedded");
    componentize(&module).expect("a component")
}
