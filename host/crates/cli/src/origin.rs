//! The options of `hospes pack` that say where a model comes from, and how that is shown.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use serde_json::{Value, json};

use super::document::Reference;
use super::failure::{During as _, Failure};
use hospes_bundle::provenance::{Artifact, Code, Content, Provenance};
use hospes_bundle::{
    self as bundle, Derivation, Evaluation, How, HowError, Inspection, Manifest, OriginFiles, Said,
    Trained,
};
use hospes_config::about_bytes;
use hospes_core::id::{Digest, IdError, Party};

/// Most figures that a page shows; all are in the JSON.
const FIGURES_SHOWN_MAX: usize = 12;

/// Where the model comes from.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Where the model comes from")]
pub struct OriginArgs {
    /// The proof that `hospes train` wrote. It must be about this model.
    #[arg(long, value_name = "FILE.dsse")]
    provenance: Option<PathBuf>,
    /// The profile of held-out data that `hospes evaluate` wrote.
    #[arg(long, value_name = "FILE.json")]
    profile: Option<PathBuf>,
    /// A model card: Markdown, with a front matter as on Hugging Face. Kept whole.
    #[arg(long, value_name = "README.md")]
    card: Option<PathBuf>,
    /// A report of `hospes evaluate --json` or `hospes train`; its figures go into the manifest. Can be repeated.
    #[arg(long = "report", value_name = "FILE.json")]
    reports: Vec<PathBuf>,
    /// What the model was made from, and how: `optimised=model.onnx`, `converted=…`, `fine-tuned=…`, `distilled=…`; a model's file,
    /// a bundle or a digest. Can be repeated, the latest step first.
    #[arg(long, value_name = "HOW=FROM")]
    derived_from: Vec<Step>,
}

/// A step of `--derived-from`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Step {
    how: How,
    from: Reference,
}

/// Why `--derived-from` is not a step.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("write `HOW=FROM`, as in `optimised=model.onnx`")]
    Form,
    #[error(transparent)]
    How(#[from] HowError),
    #[error(transparent)]
    Digest(#[from] IdError),
}

impl FromStr for Step {
    type Err = StepError;

    fn from_str(text: &str) -> Result<Self, StepError> {
        let (how, from) = text.split_once('=').ok_or(StepError::Form)?;
        Ok(Self { how: how.parse()?, from: from.parse()? })
    }
}

impl Step {
    fn derivation(&self) -> Result<Derivation, Failure> {
        let how = self.how;
        let path = match &self.from {
            Reference::Id(model) => {
                return Ok(Derivation { bundle: None, model: Some(*model), how });
            }
            Reference::File(path) => path,
        };
        if let Ok(inspection) = bundle::inspect(path) {
            let model = match &inspection.manifest().models[..] {
                [model] => Some(model.sha256),
                _ => None,
            };
            return Ok(Derivation { bundle: Some(*inspection.digest()), model, how });
        }
        Ok(Derivation { bundle: None, model: Some(Artifact::of_file(path)?.sha256), how })
    }
}

impl OriginArgs {
    /// Takes this card if none is named.
    pub(crate) fn or_card(self, card: Option<PathBuf>) -> Self {
        Self { card: self.card.or(card), ..self }
    }

    /// Reads what the options name.
    pub(crate) fn read(self) -> Result<Said, Failure> {
        let derived_from = self.derived_from.iter().map(Step::derivation);
        let files = OriginFiles {
            provenance: self.provenance,
            profile: self.profile,
            card: self.card,
            reports: self.reports,
            derived_from: derived_from.collect::<Result<_, _>>()?,
        };
        files.read(Path::new("")).during(|| "cannot tell where the model comes from".to_owned())
    }
}

/// What a manifest says about the model's origin and quality, as lines of a page.
pub(crate) fn lines(manifest: &Manifest) -> String {
    let mut page = String::new();
    for Derivation { bundle, model, how } in &manifest.derived_from {
        for (what, digest) in [("bundle", bundle), ("model", model)] {
            if let Some(digest) = digest {
                page += &format!("  {how} from {what} {digest}\n");
            }
        }
    }
    for one in manifest.evaluations.iter().take(FIGURES_SHOWN_MAX) {
        let Evaluation { data, metric, value, low, high, rows, by, .. } = one;
        let by = match by {
            bundle::FoundBy::Evaluation => "evaluation",
            bundle::FoundBy::Trainer => "trainer",
            bundle::FoundBy::Publisher => "publisher",
        };
        let interval = low.zip(*high).map(|(low, high)| (low.get(), high.get()));
        page += &figure(metric, (value.get(), interval), (data, *rows), by);
    }
    if let Some(more) = manifest.evaluations.len().checked_sub(FIGURES_SHOWN_MAX + 1) {
        page += &format!("  and {} more figures: see `--json`\n", more + 1);
    }
    page
}

/// A figure about a model as a line of a page. `by` is as in the manifest's JSON.
pub(crate) fn figure(
    metric: &str,
    (value, interval): (f64, Option<(f64, f64)>),
    (data, rows): (&str, Option<u64>),
    by: &str,
) -> String {
    let interval = interval.map(|(low, high)| format!(" ({low:.4} to {high:.4})"));
    let rows = rows.map(|rows| format!(", {rows} rows"));
    let by = match by {
        "evaluation" => "found by `hospes evaluate`",
        "publisher" => "stated by the publisher",
        _ => "found by the trainer",
    };
    let (interval, rows) = (interval.unwrap_or_default(), rows.unwrap_or_default());
    format!("  {metric} {}{interval} on {data}{rows}, {by}\n", short(value))
}

/// Who trained the model of a bundle, as the beginning of a line. If another model was trained, only the publisher says how (`made`) the bundle's was
/// made from it.
pub(crate) fn trained_by(
    trainer: &str,
    model: &Digest,
    is_in_bundle: bool,
    made: Option<&dyn Display>,
) -> String {
    let trainer = match trainer.split_once(' ') {
        Some(("hospes", _)) => format!("a script, which {trainer} ran"),
        _ => trainer.to_owned(),
    };
    match made {
        _ if is_in_bundle => format!("  trained by {trainer}"),
        Some(made) => format!(
            "  the model that this one was {made} from, as its publisher says, was trained by {trainer}: {model}"
        ),
        None => format!("  another model, {model}, was trained by {trainer}"),
    }
}

/// A number as people read it: at most four decimals, or four digits of a tiny one.
fn short(value: f64) -> String {
    let text = match value.abs() {
        size if size >= 1e-3 || size == 0.0 => format!("{value:.4}"),
        _ => return format!("{value:.3e}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What a bundle carries besides its models, as lines of a page.
pub(crate) fn extras(inspection: &Inspection) -> String {
    let extras = inspection.extras();
    let proof = |provenance| proof(provenance, inspection.manifest(), inspection.signer());
    let mut page = extras.provenance().map(proof).unwrap_or_default();
    for (what, bytes) in [("profile", extras.profile_bytes()), ("card", extras.card_bytes())] {
        if let Some(bytes) = bytes {
            page += &format!("  {what:9} {}\n", about_bytes(bytes as u64));
        }
    }
    page
}

/// A training as lines of a page. `publisher` has signed the bundle.
fn proof(provenance: &Provenance, manifest: &Manifest, publisher: Option<Party>) -> String {
    let training = provenance.training();
    let trainer = format!(
        "{} {}, {}",
        training.trainer.name,
        training.trainer.version,
        training.finished.strftime("%Y-%m-%d %H:%M UTC")
    );
    let model = training.model.sha256;
    let trained = Trained::of(model, manifest);
    let how = match &trained {
        Some(Trained::Before(how)) => Some(how as &dyn Display),
        Some(Trained::Here) | None => None,
    };
    let mut page = trained_by(&trainer, &model, trained == Some(Trained::Here), how) + "\n";
    let signer = provenance.signer();
    let who = match publisher {
        Some(publisher) if publisher == signer => ", the publisher",
        Some(_) => ", who is not the publisher",
        None => "",
    };
    page += &format!(
        "  says so   {signer}{who} (SLSA build level {}: who trained it says so, nobody else watched)\n",
        provenance.level()
    );
    let seed = training.seed.map_or_else(String::new, |seed| format!(", seed {seed}"));
    page += &format!("  recipe    {} {}{seed}\n", training.recipe.name, training.recipe.sha256);
    for data in &training.data {
        let licence = data.licence.as_deref().unwrap_or("no licence stated");
        let bytes = about_bytes(data.content.bytes());
        page +=
            &format!("  data      {} {}, {bytes}, {licence}\n", data.name, data.content.digest());
    }
    for code in &training.code {
        page += &match code {
            Code::Git { commit, .. } => format!("  code      commit {commit}\n"),
            Code::Files { path, content } => format!("  code      {path} {}\n", content.digest()),
        };
    }
    if let Some(base) = &training.base {
        page += &format!("  base      {} {}\n", base.name, base.sha256);
    }
    page
}

/// What a bundle carries besides its models, for programs.
pub(crate) fn extras_json(inspection: &Inspection) -> Value {
    let extras = inspection.extras();
    let proof = |provenance: &Provenance| {
        let mut proof = proof_json(provenance);
        let trained = Trained::of(provenance.training().model.sha256, inspection.manifest());
        proof["model_in_bundle"] = json!(trained == Some(Trained::Here));
        proof["model_then"] = match trained {
            Some(Trained::Before(how)) => json!(how),
            Some(Trained::Here) | None => Value::Null,
        };
        let publisher = inspection.signer();
        proof["signer_is_publisher"] =
            json!(publisher.map(|publisher| publisher == provenance.signer()));
        proof
    };
    json!({
        "provenance": extras.provenance().map(proof),
        "profile_bytes": extras.profile_bytes(),
        "card_bytes": extras.card_bytes(),
    })
}

fn proof_json(provenance: &Provenance) -> Value {
    let training = provenance.training();
    let file = |one: &Artifact| json!({"name": one.name, "sha256": one.sha256, "bytes": one.bytes});
    let data = training.data.iter().map(|data| {
        json!({"name": data.name, "path": data.path, "digest": data.content.digest(),
            "folder": matches!(data.content, Content::Folder(_)), "bytes": data.content.bytes(), "licence": data.licence})
    });
    let code = training.code.iter().map(|code| match code {
        Code::Git { commit, uri } => json!({"commit": commit, "uri": uri}),
        Code::Files { path, content } => json!({"path": path, "digest": content.digest()}),
    });
    json!({
        "signer": provenance.signer(),
        "slsa_build_level": provenance.level(),
        "trainer": {"name": training.trainer.name, "version": training.trainer.version},
        "started": training.started,
        "finished": training.finished,
        "model": file(&training.model),
        "recipe": file(&training.recipe),
        "seed": training.seed,
        "parameters": training.parameters,
        "environment": training.environment,
        "data": data.collect::<Vec<_>>(),
        "code": code.collect::<Vec<_>>(),
        "lock": training.lock.as_ref().map(file),
        "base": training.base.as_ref().map(|base| json!({"name": base.name, "sha256": base.sha256})),
        "events": training.events.as_ref().map(file),
        "report": training.report.as_ref().map(file),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_for_people() {
        for (value, shown) in [
            (0.966_666_666_666_666_7, "0.9667"),
            (2_843.123_456_789, "2843.1235"),
            (1.0, "1"),
            (0.0, "0"),
            (-0.25, "-0.25"),
            (0.000_012_345_678, "1.235e-5"),
        ] {
            assert_eq!(short(value), shown);
        }
    }

    #[test]
    fn both_spellings_of_a_step_are_taken() {
        for text in ["optimised=model.onnx", "optimized=model.onnx"] {
            assert_eq!(text.parse::<Step>().expect("a step").how, How::Optimised);
        }
    }
}
