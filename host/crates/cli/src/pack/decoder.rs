//! `hospes pack` for language models: GGUF files and Hugging Face folders become decoders.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use clap::ValueEnum;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::{Pack, wrote};
use crate::Context;
use crate::failure::{During as _, Failure};
use crate::screen::{Answer, printable};
use crate::shell;
use hospes_bundle::{
    self as bundle, Description, Encoding, GuestCode, Licence, ModelInput, Said, Source,
};
use hospes_checkpoint::{
    self as checkpoint, CONFIG_FILE, Checkpoint, Cost, GGUF_MAGIC, Quantise, Told,
};
use hospes_config::about_bytes;
use hospes_core::backend::{BackendKind, Device};
use hospes_core::id::ModelLabel;
use hospes_decoder::{Config, Decoder};

/// The name of a guest's decoder, if the guest's bundle has none yet.
const MODEL: &str = "model";
/// The mode of a person's own files, to which the umask applies.
const READABLE: u32 = 0o666;

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Stored {
    F32,
    F16,
    Q8,
    Q4,
}

impl Stored {
    fn quantise(self) -> Quantise {
        match self {
            Self::F32 => Quantise::F32,
            Self::F16 => Quantise::F16,
            Self::Q8 => Quantise::Q8,
            Self::Q4 => Quantise::Q4,
        }
    }
}

/// A language model on disk.
#[derive(Debug)]
pub(super) enum Found {
    Gguf,
    /// A folder as on Hugging Face.
    Folder,
}

/// Whether a path is a language model that becomes a decoder. `None` for other models, and for what cannot be read.
pub(super) fn found(path: &Path) -> Result<Option<Found>, Failure> {
    if path.is_dir() {
        return Ok(path.join(CONFIG_FILE).exists().then_some(Found::Folder));
    }
    let mut beginning = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut beginning));
    let is_gguf = read.is_ok() && beginning == GGUF_MAGIC;
    if !is_gguf && path.extension().is_some_and(|extension| extension == "safetensors") {
        let alone = format!("`{}` has weights only", path.display());
        let whole = "name the folder with its `config.json` and `tokenizer.json`; a decoder belongs into the `hospes.toml` of a plugin";
        return Err(Failure::new(alone).fix(whole));
    }
    Ok(is_gguf.then_some(Found::Gguf))
}

impl Pack {
    pub(super) fn run_decoder(self, context: &Context, found: &Found) -> Result<Answer, Failure> {
        let wrong = || format!("cannot pack `{}`", self.model.display());
        let progress = context.screen.spinner(&format!("packing {}", self.model.display()));
        let checkpoint = match found {
            Found::Gguf => checkpoint::open_gguf_file(&self.model),
            Found::Folder => checkpoint::open_folder(&self.model),
        };
        let checkpoint = checkpoint.during(wrong)?;
        let guest = self.guest.as_deref().map(read_guest).transpose()?;
        let name = match self.name.clone() {
            Some(name) => name,
            None => own_name(checkpoint.told(), &self.model)?,
        };
        let extension = if guest.is_some() { "wasm" } else { "safetensors" };
        let path = self.output.clone().unwrap_or_else(|| format!("{name}.{extension}").into());
        self.force.check_whole(&path)?;
        let (file, cost) =
            write(&checkpoint, self.quantise.map(Stored::quantise), &path).during(wrong)?;
        let shown = Shown { checkpoint: &checkpoint, cost, path: &path };
        let Some(guest) = guest else {
            file.persist(&path).map_err(|error| Failure::file("write", &path, &error.error))?;
            drop(progress);
            return Ok(shown.alone(&name));
        };
        let packed = self.put_into(&guest, name, checkpoint.told(), (file.path(), &path))?;
        drop(progress);
        Ok(shown.with(wrote(&packed, &path)))
    }

    /// Packs a written decoder with the guest's code.
    fn put_into(
        self,
        guest: &GuestCode,
        name: ModelLabel,
        told: &Told,
        (decoder, path): (&Path, &Path),
    ) -> Result<bundle::Packed, Failure> {
        let card = Some(self.model.join("README.md")).filter(|card| card.is_file());
        let said = self.origin.or_card(card).read()?;
        let licence = licence(self.licence, &said, told)?;
        let summary = self.summary.unwrap_or_else(|| told.summary.clone());
        let notes = said.notes.clone();
        let description = Description {
            name,
            version: self.version,
            licence,
            summary,
            card: card_of(&said, told),
            functions: guest.manifest.functions.clone(),
            types: guest.manifest.types.clone(),
            limits: guest.manifest.limits,
            origin: said.origin,
        };
        let models = models(guest, decoder, self.backend)?;
        let packed = bundle::pack_to_file(&guest.component, description, &models, path)
            .during(|| format!("cannot pack `{}`", self.model.display()))?;
        Ok(bundle::Packed { notes: [packed.notes.clone(), notes].concat(), ..packed })
    }
}

fn read_guest(path: &Path) -> Result<GuestCode, Failure> {
    File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    GuestCode::read(path).during(|| format!("`{}` is not a valid bundle", path.display()))
}

/// The models of the guest's bundle, with this decoder in the place of its own.
fn models(
    guest: &GuestCode,
    decoder: &Path,
    backend: Option<BackendKind>,
) -> Result<Vec<ModelInput>, Failure> {
    let input = |name| ModelInput {
        name,
        encoding: Encoding::Decoder,
        batch_axis: None,
        device: Device::default(),
        backend,
        pin: None,
        source: Source::File(decoder.to_owned()),
    };
    let decoders = guest.models().filter(|(spec, _)| spec.encoding == Encoding::Decoder).count();
    if decoders > 1 {
        let several = format!(
            "the guest's bundle has {decoders} decoders, so it is not known which one to replace"
        );
        let fix = "list the models in the plugin's `hospes.toml`, and use `hospes build`";
        return Err(Failure::new(several).fix(fix));
    }
    let models = guest.models().map(|(spec, bytes)| match spec.encoding {
        Encoding::Decoder => input(spec.name.clone()),
        Encoding::Onnx => ModelInput {
            encoding: spec.encoding,
            batch_axis: spec.batch_axis,
            device: spec.device,
            backend: spec.backend,
            source: Source::Bytes(bytes.clone()),
            ..input(spec.name.clone())
        },
    });
    let mut models: Vec<ModelInput> = models.collect();
    if decoders == 0 {
        models.push(input(MODEL.parse()?));
    }
    Ok(models)
}

/// The README's card, and what the model's file says where it has nothing.
fn card_of(said: &Said, told: &Told) -> bundle::Card {
    let own = bundle::Card {
        languages: told.languages.clone(),
        tags: told.tags.clone(),
        ..bundle::Card::default()
    };
    said.card.clone().or(own)
}

/// The licence that the user states, or that of the card, or that of the model's file.
fn licence(stated: Option<Licence>, said: &Said, told: &Told) -> Result<Licence, Failure> {
    let own = || {
        let text = told.licence.as_deref()?;
        bundle::spdx(text).unwrap_or(text).parse().ok()
    };
    match stated.or_else(|| said.licence.clone()).or_else(own) {
        Some(licence) => Ok(licence),
        None => Ok("NOASSERTION".parse()?),
    }
}

/// A name from what the model calls itself, or from its file.
fn own_name(told: &Told, path: &Path) -> Result<ModelLabel, Failure> {
    let stem = path.file_stem().and_then(|stem| stem.to_str());
    let names = [told.name.as_deref(), stem];
    let name = names.into_iter().flatten().find_map(|name| kebab(name).parse().ok());
    name.ok_or_else(|| {
        let example = format!("hospes pack {} --name NAME", shell::path(path));
        Failure::new("the model needs a name").fix(example)
    })
}

/// A text as a name: letters and digits, the rest as single hyphens.
fn kebab(text: &str) -> String {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
    let words = words.filter(|word| !word.is_empty()).map(str::to_ascii_lowercase);
    words.collect::<Vec<_>>().join("-")
}

/// Writes the decoder into a file that nobody sees yet, and reads it back as hosts do.
fn write(
    checkpoint: &Checkpoint,
    quantise: Option<Quantise>,
    path: &Path,
) -> Result<(NamedTempFile, Cost), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let unwritable = |error: std::io::Error| Failure::file("write", path, &error);
    let file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(READABLE))
        .tempfile_in(folder)
        .map_err(unwritable)?;
    let mut out = BufWriter::new(file);
    let written = checkpoint.write(quantise, &mut out)?;
    out.flush().map_err(unwritable)?;
    let file = out.into_inner().map_err(|error| unwritable(error.into_error()))?;
    file.as_file().sync_all().map_err(unwritable)?;
    let bytes = std::fs::read(file.path()).map_err(unwritable)?;
    Decoder::read(&bytes).during(|| "hosts would refuse the decoder".to_owned())?;
    Ok((file, written.cost))
}

/// What a person should see of a packed decoder.
struct Shown<'c> {
    checkpoint: &'c Checkpoint,
    cost: Cost,
    path: &'c Path,
}

impl Shown<'_> {
    /// Sizes, cost and notes, a line each.
    fn lines(&self) -> String {
        let Config { architecture, layers, hidden, vocabulary, context, .. } =
            self.checkpoint.config();
        let name = architecture.name();
        let notes = self.checkpoint.notes().iter().map(|note| format!("note: {note}\n"));
        let notes: String = notes.collect();
        let cost = told(&self.cost);
        printable(&format!(
            "  decoder   {name}, {layers} layers of {hidden}, {vocabulary} tokens, context {context}\n  {cost}\n{notes}"
        ))
    }

    fn json(&self) -> Value {
        let Cost { before, after, largest, worst, mean, kinds } = &self.cost;
        let kinds = kinds.iter().map(|(kind, count)| (kind.name().to_owned(), (*count).into()));
        let kinds: serde_json::Map<String, Value> = kinds.collect();
        let cost = json!({
            "bytes_before": before,
            "bytes_after": after,
            "largest_error": largest,
            "largest_error_in": worst,
            "mean_error": mean,
            "matrices": kinds,
        });
        let checkpoint = self.checkpoint;
        json!({"config": checkpoint.config(), "notes": checkpoint.notes(), "cost": cost})
    }

    /// The answer for a decoder without a guest.
    fn alone(&self, name: &ModelLabel) -> Answer {
        let file = self.path.display().to_string();
        let next = "name it in a plugin's `hospes.toml` with `encoding = \"decoder\"`, or pack the model with `--guest`";
        let plain = format!("{name}\n{}\nwrote {file}\nnext: {next}", self.lines());
        let json = json!({"file": file, "name": name, "decoder": self.json()});
        Answer::new(plain, json)
    }

    /// Adds this to what is shown of the bundle.
    fn with(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Text { plain, mut json } => {
                json["decoder"] = self.json();
                let (page, end) = plain.split_once("\n\n").unwrap_or((&plain, ""));
                Answer::new(format!("{page}\n{}\n{end}", self.lines()), json)
            }
            other => other,
        }
    }
}

/// The cost in one line.
fn told(cost: &Cost) -> String {
    let kinds = cost.kinds.iter().map(|(kind, count)| format!("{count} in {}", kind.name()));
    let kinds = kinds.collect::<Vec<_>>().join(", ");
    let sizes = format!("{} before, {} after", about_bytes(cost.before), about_bytes(cost.after));
    match &cost.worst {
        None => format!("weights   {sizes} ({kinds}); nothing was lost"),
        Some(worst) => format!(
            "weights   {sizes} ({kinds}); relative error {:.2} % on average, at most {:.2} % ({worst})",
            cost.mean * 100.0,
            cost.largest * 100.0
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_what_models_call_themselves() {
        assert_eq!(kebab("Smollm2 135M 8k Lc100K Mix1 Ep2"), "smollm2-135m-8k-lc100k-mix1-ep2");
        let told = |name: Option<&str>| Told { name: name.map(str::to_owned), ..Told::default() };
        let path = Path::new("x/Qwen3_0.6B.gguf");
        let name = |told: Told| own_name(&told, path).map(|name| name.to_string());
        assert_eq!(name(told(Some("Qwen3 0.6B"))), Ok("qwen3-0-6b".to_owned()));
        assert_eq!(name(told(Some("7B!"))), Ok("qwen3-0-6b".to_owned()));
        assert!(own_name(&told(None), Path::new("7.gguf")).is_err());
    }

    #[test]
    fn the_cost_is_one_line() {
        let kinds = vec![(hospes_decoder::Kind::Q8, 2)];
        let cost = Cost { before: 2048, after: 1024, kinds, ..Cost::default() };
        let line = "weights   2.00 KiB before, 1.00 KiB after (2 in q8); nothing was lost";
        assert_eq!(told(&cost), line);
        let cost = Cost { largest: 0.05, mean: 0.031, worst: Some("w".to_owned()), ..cost };
        assert!(told(&cost).ends_with("relative error 3.10 % on average, at most 5.00 % (w)"));
    }
}
