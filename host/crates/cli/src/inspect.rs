//! `hospes inspect`: shows and verifies a bundle.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::failure::{During as _, Failure};
use super::origin;
use super::screen::{self, Answer, printable};
use hospes_bundle::{self as bundle, Inspection, Manifest, Told};
use hospes_config::about_bytes;

/// Show what is in a bundle.
///
/// Verifies every digest, and the signature if there is one, and runs nothing. Names the first part that fails: manifest, code,
/// model,
/// provenance or signature. Shows who trained the model and on what, if the bundle says so; `hospes verify-lineage` compares that
/// with the files.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes inspect iris.wasm")]
pub struct Inspect {
    /// The bundle.
    file: PathBuf,
}

impl Inspect {
    pub fn run(self) -> Result<Answer, Failure> {
        let inspection = read(&self.file)?;
        let signed = match inspection.signer() {
            Some(party) => format!("signed by {party}"),
            None => "not signed".to_owned(),
        };
        let said = inspection.told();
        let numbers: String = said.iter().map(|(name, said)| told(name.as_str(), said)).collect();
        let plain = format!(
            "{}{}{}  bundle    {}\n  {signed}",
            page(inspection.manifest()),
            printable(&numbers),
            printable(&origin::extras(&inspection)),
            inspection.digest()
        );
        let json = json!({
            "digest": inspection.digest(),
            "signer": inspection.signer(),
            "manifest": inspection.manifest(),
            "imports": inspection.imports(),
            "extras": origin::extras_json(&inspection),
            "told": said.iter().map(|(name, told)| told_json(name.as_str(), told)).collect::<Vec<_>>(),
        });
        Ok(Answer::new(plain, json))
    }
}

/// Reads and checks a bundle.
///
/// # Errors
/// If it cannot be read or verified.
pub fn read(path: &Path) -> Result<Inspection, Failure> {
    // A missing file is not an invalid one.
    File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    bundle::inspect(path).during(|| format!("`{}` is not a valid bundle", path.display()))
}

/// Reads and checks a signed bundle.
///
/// # Errors
/// As [`read`], and if it is not signed.
pub fn read_signed(path: &Path) -> Result<Inspection, Failure> {
    let inspection = read(path)?;
    match inspection.signer() {
        Some(_) => Ok(inspection),
        None => Err(Failure::new(format!("`{}` is not signed", path.display()))
            .fix(format!("hospes sign {}", path.display()))),
    }
}

/// Most classes, columns and categories that a page shows; all are in the JSON.
const NAMES_SHOWN_MAX: usize = 20;

/// What a model says of its numbers, as lines of a page: which place is which class or text.
pub fn told(model: &str, Told { classes, columns, .. }: &Told) -> String {
    let mut lines = String::new();
    if !classes.is_empty() {
        lines += &format!("  {model}  classes  {}\n", numbered(classes));
    }
    for column in columns.iter().take(NAMES_SHOWN_MAX).filter(|one| !one.categories.is_empty()) {
        lines += &format!(
            "  {model}  column `{}`: {}\n",
            screen::name(&column.name),
            numbered(&column.categories)
        );
    }
    if !columns.is_empty() {
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        lines += &format!("  {model}  columns  {}\n", numbered(&names));
    }
    lines
}

fn numbered(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN_MAX).enumerate();
    let mut text: Vec<String> =
        shown.map(|(place, name)| format!("{place} = {}", screen::name(name))).collect();
    if names.len() > NAMES_SHOWN_MAX {
        text.push(format!("and {} more", names.len() - NAMES_SHOWN_MAX));
    }
    text.join(", ")
}

/// The same for programs.
fn told_json(model: &str, Told { classes, columns, .. }: &Told) -> Value {
    json!({"model": model, "classes": classes, "columns": columns})
}

/// A manifest as text.
pub fn page(manifest: &Manifest) -> String {
    let Manifest { name, version, licence, summary, card, functions, models, .. } = manifest;
    let mut page = format!("{name} {version}  ({licence})\n  {summary}\n");
    let texts = [
        ("intended for", &card.intended_use),
        ("limits", &card.limitations),
        ("trained on", &card.training_data),
    ];
    for (label, text) in texts {
        if let Some(text) = text {
            page += &format!("  {label}: {text}\n");
        }
    }
    for function in functions {
        page += &format!("  function  {}  ({})\n", function.name, function.export);
    }
    for model in models {
        page += &format!(
            "  model     {}  {}  {}\n",
            model.name,
            about_bytes(model.bytes),
            model.sha256
        );
    }
    let lists = [
        ("task", card.task.as_slice()),
        ("languages", &card.languages),
        ("tags", &card.tags),
        ("datasets", &card.datasets),
        ("made from", &card.base_models),
    ];
    for (label, list) in lists {
        if !list.is_empty() {
            page += &format!("  {label}: {}\n", list.join(", "));
        }
    }
    page += &origin::lines(manifest);
    printable(&page)
}
