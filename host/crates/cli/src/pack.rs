//! `hospes pack`: packs a model without code into a bundle.

mod decoder;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::Context;
use super::document::Force;
use super::failure::{During as _, Failure};
use super::inspect;
pub use super::inspect::told;
use super::origin::OriginArgs;
use super::quantities;
use super::screen::{Answer, printable};
use super::shell;
use hospes_bundle::{
    self as bundle, Description, Encoding, FunctionSpec, Licence, ModelInput, Packed,
    RequestedLimits, Said, Source, Told,
};
use hospes_core::backend::{BackendKind, Device};
use hospes_core::id::ModelLabel;
use hospes_onnx::model::Size;
use hospes_onnx::{Interface, Port};

/// The built-in guest's function: the name for callers, and the export.
const FUNCTION: (&str, &str) = ("infer", "hospes:plugin/inference@0.1.0#infer");

/// The name under which the built-in guest loads the model.
const GRAPH: &str = "model";

/// Pack a model into a bundle.
///
/// For an ONNX model that needs no code: a built-in guest passes tensors through, as the function `infer`. Weights in separate files
/// are put into the model, and maps of probabilities (`ZipMap`) become tensors. A model that hosts would refuse is refused here,
/// with the fix. Shows what callers give and get; sizes that have a name or are `?` are theirs to choose. The same model and
/// options give the same bytes. Sign the bundle afterwards.
///
/// A language model (a GGUF file, or a folder of Hugging Face with safetensors) becomes a decoder: weights, tokenizer and chat
/// template as data, for which hosts write the graph. Name the bundle of the guest that speaks with it as `--guest`. Shows what
/// quantisation costs.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes pack iris.onnx --name iris --licence MIT --summary 'Sorts irises by four lengths.' -o iris.wasm\n  \
    hospes sign iris.wasm --as acme\n\n\
    A language model, with the code of a chat plugin:\n  hospes pack smollm2.gguf --guest chat.wasm -o smollm2.wasm\n\n\
    A model that `hospes train` made, with its proof, its figures and its card:\n  \
    hospes pack run/model.onnx --name iris --provenance run/provenance.dsse --report run/report.json --card README.md"
)]
pub struct Pack {
    /// The model: an ONNX or GGUF file, or the folder of a Hugging Face model.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The model's name, unique among yours [default for language models: what they call themselves].
    #[arg(long)]
    name: Option<ModelLabel>,
    /// The version, which can be published only once.
    #[arg(long, default_value = "1.0.0", value_parser = quantities::version)]
    version: semver::Version,
    /// The model's licence, as an SPDX expression.
    ///
    /// Without it, that of `--card`, or `NOASSERTION`.
    #[arg(long, value_name = "SPDX", alias = "license")]
    licence: Option<Licence>,
    /// One line that says what the model does.
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// The backend that must compute the model, e.g. where `hospes optimize` found it best [default: the host chooses].
    #[arg(long, value_name = "NAME", value_parser = backend)]
    backend: Option<BackendKind>,
    /// Of a language model, how weights are stored [default: as the file has them, or in 8 bits].
    #[arg(long, value_name = "KIND", alias = "quantize")]
    quantise: Option<decoder::Stored>,
    /// Of a language model, a bundle whose decoder it takes the place of. Without it, only the decoder is written, for
    /// `hospes build`.
    #[arg(long, value_name = "BUNDLE.wasm")]
    guest: Option<PathBuf>,
    /// The bundle's file [default: NAME.wasm].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    origin: OriginArgs,
}

impl Pack {
    pub(crate) fn run(self, context: &Context) -> Result<Answer, Failure> {
        if let Some(checkpoint) = decoder::found(&self.model)? {
            return self.run_decoder(context, &checkpoint);
        }
        if self.quantise.is_some() || self.guest.is_some() {
            let only = format!(
                "`{}` is no language model, so it has neither `--quantise` nor `--guest`",
                self.model.display()
            );
            return Err(Failure::new(only).fix("make it smaller with `hospes optimize`"));
        }
        if self.model.is_dir() {
            let directory = format!("`{}` is a directory, not a model", self.model.display());
            let build = format!("pack a plugin with `hospes build {}`", shell::path(&self.model));
            return Err(Failure::new(directory).fix(build));
        }
        let Some(name) = self.name else {
            let example = format!("hospes pack {} --name NAME", shell::path(&self.model));
            return Err(Failure::new("the model needs a name").fix(example));
        };
        let path = self.output.unwrap_or_else(|| format!("{name}.wasm").into());
        self.force.check_whole(&path)?;
        let said = self.origin.read()?;
        let progress = context.screen.spinner(&format!("packing {}", self.model.display()));
        let codeless = Codeless {
            model: self.model,
            name,
            version: self.version,
            licence: licence(self.licence, &said)?,
            summary: self.summary,
            said,
            backend: self.backend,
        };
        let packed = codeless.pack_to_file(&path)?;
        drop(progress);
        Ok(wrote(&packed, &path))
    }
}

fn backend(text: &str) -> Result<BackendKind, String> {
    let names = || BackendKind::ALL.map(BackendKind::name).join("` or `");
    BackendKind::named(text).ok_or_else(|| format!("name `{}`", names()))
}

/// A model without code, and its description.
pub struct Codeless {
    pub model: PathBuf,
    pub name: ModelLabel,
    pub version: semver::Version,
    pub licence: Licence,
    pub summary: Option<String>,
    /// Where the model comes from.
    pub said: Said,
    /// The backend that must compute it; `None` for the host's choice.
    pub backend: Option<BackendKind>,
}

/// The licence that the user states, or that of the card.
fn licence(stated: Option<Licence>, said: &Said) -> Result<Licence, Failure> {
    match stated.or_else(|| said.licence.clone()) {
        Some(licence) => Ok(licence),
        None => Ok("NOASSERTION".parse()?),
    }
}

impl Codeless {
    /// Packs it into an unsigned bundle, which appears whole or not at all.
    ///
    /// # Errors
    /// If the model cannot be read, or every host would refuse it.
    pub fn pack_to_file(self, path: &Path) -> Result<Packed, Failure> {
        let summary =
            self.summary.unwrap_or_else(|| format!("The model `{}`, without code.", self.name));
        let function =
            FunctionSpec { name: FUNCTION.0.parse()?, export: FUNCTION.1.parse()?, docs: None };
        let description = Description {
            name: self.name,
            version: self.version,
            licence: self.licence,
            summary,
            card: self.said.card,
            functions: vec![function],
            types: Vec::new(),
            limits: RequestedLimits::default(),
            origin: self.said.origin,
        };
        let model = ModelInput {
            name: GRAPH.parse()?,
            encoding: Encoding::Onnx,
            batch_axis: None,
            device: Device::default(),
            backend: self.backend,
            pin: None,
            source: Source::File(self.model.clone()),
        };
        let component = bundle::passthrough()?;
        let packed = bundle::pack_to_file(&component, description, &[model], path)
            .during(|| format!("cannot pack `{}`", self.model.display()))?;
        Ok(Packed { notes: [packed.notes, self.said.notes].concat(), ..packed })
    }
}

/// A bundle that was written to a file: its page, what callers give its models and get, what was changed in them, and the next step.
pub(crate) fn wrote(packed: &Packed, path: &Path) -> Answer {
    let Packed { manifest, cures, interfaces, told, notes, .. } = packed;
    let names = || manifest.models.iter().map(|model| model.name.as_str());
    let models: Vec<_> = names().zip(interfaces).collect();
    let cures_shown = cures.iter().map(|cure| format!("cured: {cure}\n"));
    let noted = notes.iter().map(|note| format!("note: {note}\n"));
    let cured: String = cures_shown.chain(noted).collect();
    let shown: String = models.iter().map(|(name, interface)| ports(name, interface)).collect();
    let said: String = names().zip(told).map(|(name, told)| inspect::told(name, told)).collect();
    let shown = shown + &printable(&said);
    let interfaces = models.iter().zip(told).map(|((name, one), told)| interface(name, one, told));
    let interfaces: Vec<_> = interfaces.collect();
    let file = path.display().to_string();
    let page = inspect::page(manifest);
    let cured = printable(&cured);
    let plain = format!("{page}{shown}\n{cured}wrote {file}\nnext: hospes sign {file}");
    let json = json!({"file": file, "manifest": manifest, "cures": cures, "interfaces": interfaces, "notes": notes});
    Answer::new(plain, json)
}

/// Inputs and outputs as people read them. Callers choose sizes that have a name or are `?`.
fn ports(model: &str, interface: &Interface) -> String {
    let row = |side: &str, port: &Port| format!("  {model}  {side:6}  {port}\n");
    let inputs = interface.inputs.iter().map(|port| row("input", port));
    let outputs = interface.outputs.iter().map(|port| row("output", port));
    inputs.chain(outputs).collect()
}

fn interface(model: &str, interface: &Interface, told: &Told) -> Value {
    let ports = |ports: &[Port]| ports.iter().map(port).collect::<Vec<_>>();
    let opsets: serde_json::Map<String, Value> =
        interface.opsets.iter().map(|opset| (opset.domain.clone(), opset.version.into())).collect();
    let mut json = json!({
        "model": model,
        "inputs": ports(&interface.inputs),
        "outputs": ports(&interface.outputs),
        "opsets": opsets,
    });
    if !told.classes.is_empty() {
        json["classes"] = json!(told.classes);
    }
    if !told.columns.is_empty() {
        json["columns"] = json!(told.columns);
    }
    json
}

/// A size is a number, a name, or null.
fn port(port: &Port) -> Value {
    let size = |size: &Size| match size {
        Size::Fixed(size) if *size >= 0 => json!(size),
        Size::Named(name) => json!(name),
        _ => Value::Null,
    };
    json!({
        "name": port.name,
        "type": port.element.map(|element| element.name()),
        "shape": port.shape.as_ref().map(|sizes| sizes.iter().map(size).collect::<Vec<_>>()),
        "has_default": port.has_default,
    })
}
