//! `hospes verify-lineage`: compares a bundle's provenance with the files that are at hand.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::failure::{During as _, Failure};
use super::inspect;
use super::screen::{Answer, printable};
use hospes_bundle::Inspection;
use hospes_bundle::provenance::{Check, Finding, Places, Provenance};
use hospes_core::id::Digest;

/// Check where a bundle's model comes from.
///
/// Verifies the bundle, and the signed provenance in it: who trained the model, with which recipe, data and code. Then compares
/// the files that you name with what was recorded, byte for byte, and names each that changed. What you do not name is listed as
/// not checked. Exit code 1 if anything differs, or if the bundle has no provenance.
///
/// This proves that these are the files that the signer recorded. It does not prove that the signer trained the model with them:
/// repeat the training with the same seed for that.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes verify-lineage iris.wasm --data data --recipe iris.toml --report run/report.json --events run/events.jsonl"
)]
pub struct VerifyLineage {
    /// The bundle.
    #[arg(value_name = "BUNDLE")]
    file: PathBuf,
    /// The folder that the recipe's paths of data begin in, or the data itself. `NAME=PATH` says where one data set is, and can be
    /// repeated.
    #[arg(long, value_name = "[NAME=]PATH")]
    data: Vec<PathBuf>,
    /// The recipe.
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The report of the training.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The events of the training.
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
    /// The folder that the recipe's paths of code begin in, or the code itself.
    #[arg(long, value_name = "PATH")]
    code: Option<PathBuf>,
    /// The file that pins the code's libraries.
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// The bundle or model that the training started from.
    #[arg(long, value_name = "FILE")]
    base: Option<PathBuf>,
}

impl VerifyLineage {
    pub(crate) fn run(self) -> Result<Answer, Failure> {
        let inspection = inspect::read(&self.file)?;
        let Some(provenance) = inspection.extras().provenance() else {
            let file = self.file.display();
            return Err(Failure::new(format!("`{file}` has no provenance")).fix(
                "pack it with the file that `hospes train` wrote: `hospes pack … --provenance provenance.dsse`",
            ));
        };
        let (data, data_sets) = data_places(self.data, provenance)?;
        if let (Some(base), None) = (&self.base, &provenance.training().base) {
            let message =
                format!("the proof names no base, so `{}` proves nothing", base.display());
            return Err(Failure::new(message).fix("leave out `--base`"));
        }
        let places = Places {
            data,
            data_sets,
            recipe: self.recipe,
            report: self.report,
            events: self.events,
            code: self.code,
            lock: self.lock,
            base_models: self.base.as_deref().map(models).unwrap_or_default(),
            base: self.base,
        };
        let mut checks = vec![signature(&inspection, provenance), model(&inspection, provenance)];
        checks.extend(provenance.check(&places).during(|| "cannot compare".to_owned())?);
        Ok(answer(&inspection, provenance, &checks))
    }
}

/// The models in a file, if it is a bundle.
fn models(path: &Path) -> Vec<Digest> {
    let Ok(inspection) = hospes_bundle::inspect(path) else { return Vec::new() };
    inspection.manifest().models.iter().map(|model| model.sha256).collect()
}

/// The folder of all data sets, and the places of those that were named.
fn data_places(
    given: Vec<PathBuf>,
    provenance: &Provenance,
) -> Result<(Option<PathBuf>, BTreeMap<String, PathBuf>), Failure> {
    let (mut root, mut named) = (None, BTreeMap::new());
    let names = || provenance.training().data.iter().map(|data| &data.name);
    for given in given {
        let text = given.to_str().and_then(|text| text.split_once('='));
        match text {
            Some((name, path)) if names().any(|known| known == name) => {
                if named.insert(name.to_owned(), path.into()).is_some() {
                    return Err(Failure::new(format!("`--data {name}=…` is given twice"))
                        .fix("name each data set once"));
                }
            }
            Some((name, _)) if !given.exists() => {
                let known: Vec<&str> = names().map(String::as_str).collect();
                return Err(Failure::new(format!("the training had no data set `{name}`"))
                    .fix(format!("name one of `{}`", known.join("`, `"))));
            }
            _ if root.is_some() => {
                return Err(Failure::new(format!(
                    "`--data {}` is a second folder",
                    given.display()
                ))
                .fix("give one folder, and `--data NAME=PATH` for what lies elsewhere"));
            }
            _ => root = Some(given),
        }
    }
    Ok((root, named))
}

/// Reading the bundle has verified both signatures; whether it is signed at all is said here.
fn signature(inspection: &Inspection, provenance: &Provenance) -> Check {
    let finding = match inspection.signer() {
        Some(signer) if signer == provenance.signer() => Finding::Same,
        Some(signer) => Finding::NotChecked(format!(
            "the bundle is signed by {signer}, the training by {}: ask the publisher who that is",
            provenance.signer()
        )),
        None => Finding::NotChecked("the bundle is not signed yet: `hospes sign`".to_owned()),
    };
    Check { what: "signer".to_owned(), finding }
}

/// Reading the bundle has checked that the training's model is in it or one of those that it was made from.
fn model(inspection: &Inspection, provenance: &Provenance) -> Check {
    let trained = provenance.training().model.sha256;
    let manifest = inspection.manifest();
    let finding = if manifest.models.iter().any(|model| model.sha256 == trained) {
        Finding::Same
    } else {
        let how: Vec<String> =
            manifest.derived_from.iter().map(|step| step.how.to_string()).collect();
        Finding::NotChecked(format!(
            "the bundle's model was made from the trained one, as its publisher says: {}",
            how.join(", ")
        ))
    };
    Check { what: "model".to_owned(), finding }
}

fn answer(inspection: &Inspection, provenance: &Provenance, checks: &[Check]) -> Answer {
    let mut plain = String::new();
    for Check { what, finding } in checks {
        plain += &match finding {
            Finding::Same => format!("ok           {what}\n"),
            Finding::NotChecked(why) => format!("not checked  {what}: {why}\n"),
            Finding::Changed(details) => {
                format!("CHANGED      {what}: {}\n", details.join("\n             "))
            }
        };
    }
    let count =
        |wanted: fn(&Finding) -> bool| checks.iter().filter(|one| wanted(&one.finding)).count();
    let changed = count(|finding| matches!(finding, Finding::Changed(_)));
    let open = count(|finding| matches!(finding, Finding::NotChecked(_)));
    plain += &match (changed, open) {
        (0, 0) => "the lineage holds: everything recorded is as it was".to_owned(),
        // Not called whole: what was not checked may be anything.
        (0, open) => format!(
            "nothing contradicts the lineage, but {open} of {} were not checked",
            checks.len()
        ),
        (changed, _) => format!("the lineage is broken: {changed} changed"),
    };
    plain += &format!(
        "\nclaims SLSA build level {}: {} says so",
        provenance.level(),
        provenance.signer()
    );
    let json = json!({
        "holds": changed == 0,
        "not_checked": open,
        "digest": inspection.digest(),
        "signer": provenance.signer(),
        "slsa_build_level": provenance.level(),
        "checks": checks.iter().map(check).collect::<Vec<_>>(),
    });
    let plain = printable(&plain);
    if changed == 0 { Answer::new(plain, json) } else { Answer::Refused { plain, json } }
}

fn check(Check { what, finding }: &Check) -> Value {
    let (result, details) = match finding {
        Finding::Same => ("ok", Vec::new()),
        Finding::Changed(details) => ("changed", details.clone()),
        Finding::NotChecked(why) => ("not-checked", vec![why.clone()]),
    };
    json!({"what": what, "result": result, "details": details})
}
