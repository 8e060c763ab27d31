//! `hospes optimize`: makes smaller and faster models, and keeps one only if held-out data shows that it may replace the original.
//!
//! Decides nothing: the crate `hospes_optimize` makes, measures and judges. Here are its files and the host's own workers, which compute.

mod workers;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde_json::{Value, json};

use super::evaluate::{Pictures, pool};
use super::{MakeRuntime, serve};
use crate::backend::BackendKind;
use crate::convert::{EXPECTED, EXPECTED_LABELS};
use crate::data::{self, DataSet, Options};
use crate::evaluate::{Feed, ModelSignature, Pool};
use crate::onnx::{Model, Told};
use crate::optimize::execute::{Metric, Rows};
use crate::optimize::{Limits, Made, Method, Report, Task, judge, make};
use hospes_cli::Context;
use hospes_cli::document::Force;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::Answer;
use hospes_cli::shell::path as sh;
use workers::Workers;

/// Make a model smaller or faster, if held-out data shows that it still answers well.
///
/// Tries several methods: 8-bit storage, 8-bit computation with and without calibration, 4 and 8 bits in blocks, pruning. Measures each
/// beside the original in worker processes, as a host would: its answers to held-out rows, its worst class, its size, and its time on
/// each backend of this machine. Writes the best one that loses no more than it may and wins at least a tenth of size or time. If there
/// is none, it writes nothing and the exit code is 1: keep the original.
///
/// Without labels among the rows, answers are compared with the original's. Rows for `--calibrate` must be others than those of `--data`.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes optimize model.onnx --data held-out.npz -o small.onnx\n  \
    hospes optimize model.onnx --data held-out.npz --calibrate some.npz --max-loss 2% --plot all.svg -o small.onnx\n  \
    hospes optimize minilm.onnx --data sentences.npz --pool mean -o small.onnx"
)]
pub struct Optimize {
    /// The model.
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Rows that the model was not trained on: a column for each input, and labels if there are any.
    #[arg(long, value_name = "DATA")]
    data: PathBuf,
    /// Rows that show which values occur, for `static8`. About 100 are enough.
    #[arg(long, value_name = "DATA")]
    calibrate: Option<PathBuf>,
    /// The column of the labels [default: one named `y`, `label`, `labels`, `target` or `class`].
    #[arg(long, value_name = "COLUMN")]
    label: Option<String>,
    /// How much may be lost: of right answers, or of agreement, R2 or cosine.
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = share)]
    max_loss: f64,
    /// How much any class may lose.
    #[arg(long, value_name = "SHARE", default_value = "3%", value_parser = share)]
    max_class_loss: f64,
    /// Only these methods, e.g. `static8,store8`.
    #[arg(long, value_name = "METHODS", value_delimiter = ',')]
    only: Vec<Method>,
    /// Compare answers by `classes`, `r2` or `cosine` [default: as the model answers: `r2` for one number, `cosine` without classes].
    #[arg(long, value_parser = metric)]
    metric: Option<Metric>,
    /// Compare one vector of each row, as users of a text encoder make it: the `mean` of its tokens' over `attention_mask`, or that of its
    /// first token (`cls`). The metric is then `cosine`.
    #[arg(long, value_name = "POOL", value_parser = pool)]
    pool: Option<Pool>,
    #[command(flatten)]
    pictures: Pictures,
    /// Use only so many rows of each file.
    #[arg(long, value_name = "COUNT", default_value = "2000")]
    rows: std::num::NonZeroUsize,
    /// The file for the best model.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// A file for a picture of all candidates, as SVG.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The data directory whose ONNX Runtime to use, if it is not installed elsewhere [default: hospes-data].
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    host_data: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

/// A share: `1%` or `0.01`.
fn share(text: &str) -> Result<f64, String> {
    let (number, unit) = match text.trim().strip_suffix('%') {
        Some(number) => (number, 100.0),
        None => (text, 1.0),
    };
    let share = number.trim().parse::<f64>().map(|number| number / unit);
    share
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "give a share from 0 to 1, such as `1%` or `0.01`".into())
}

fn metric(text: &str) -> Result<Metric, String> {
    match text {
        "classes" => Ok(Metric::Classes),
        "r2" => Ok(Metric::Numbers),
        "cosine" => Ok(Metric::Cosine),
        _ => Err("name `classes`, `r2` or `cosine`".into()),
    }
}

impl Optimize {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        self.force.check_whole(&self.output)?;
        self.plot.as_deref().map_or(Ok(()), |plot| self.force.check_whole(plot))?;
        let metric = self.metric()?;
        let model = std::fs::read(&self.model);
        let model = Bytes::from(model.map_err(|error| Failure::file("read", &self.model, &error))?);
        let told = Told::of_bytes(&model);
        let sets = self.read_data(told.text_columns())?;
        let config = serve::config(None, self.host_data.clone())?;
        let runtime = make_runtime().during(|| "cannot start threads".into())?;
        let workers = Workers::start(runtime, &config)?;
        let signature = workers.signature(&model)?;
        let rows = |set| self.rows(set, &signature, &told);
        let held_out = rows(&sets.0)?;
        let calibration = sets.1.as_ref().map(rows).transpose()?;
        let usual = Method::ALL.into_iter().filter(|method| method.is_usual());
        let methods: Vec<Method> =
            if self.only.is_empty() { usual.collect() } else { self.only.clone() };
        let limits = Limits {
            loss_max: self.max_loss,
            class_loss_max: self.max_class_loss,
            ..Limits::default()
        };
        let task = Task {
            methods: &methods,
            held_out: &held_out,
            calibration: calibration.as_ref(),
            metric,
            limits,
        };
        let bar = context.screen.spinner(&format!("optimising {}", self.model.display()));
        let mut progress = |what: &str| bar.step(what);
        let made = make(&workers, &model, &task, &mut progress)?;
        let judged = judge(&workers, &model, made, &task, &mut progress);
        drop(bar);
        let (report, best) = judged?;
        if let Some(plot) = &self.plot {
            self.force.write(plot, report.plot().as_bytes())?;
        }
        self.answer(&report, best)
    }

    fn metric(&self) -> Result<Option<Metric>, Failure> {
        match (self.metric, self.pool) {
            (None | Some(Metric::Cosine), Some(pool)) => Ok(Some(Metric::Pooled(pool))),
            (Some(_), Some(_)) => {
                Err(Failure::new("`--pool` makes vectors, which `cosine` compares")
                    .fix("compare by `--metric cosine`, or leave `--pool` out"))
            }
            (metric, None) => Ok(metric),
        }
    }

    /// The held-out data, and those for calibration.
    fn read_data(&self, text: Vec<String>) -> Result<(DataSet, Option<DataSet>), Failure> {
        let (label, pictures) = (self.label.clone(), self.pictures.options());
        let options = Options { label, text, pictures, ..Options::default() };
        // Answers that `hospes convert` compares with may be in the same file.
        let read = |path: &Path| -> Result<DataSet, Failure> {
            let read = data::read(path, &options).map_err(|error| self.pictures.refused(error))?;
            Ok(read.without(&[EXPECTED, EXPECTED_LABELS]))
        };
        let held_out = read(&self.data)?;
        let Some(path) = &self.calibrate else { return Ok((held_out, None)) };
        let calibration = read(path)?;
        if calibration.digest() == held_out.digest() {
            let same = "the calibration rows are the held-out rows, which would then prove nothing";
            let fix = "give `--calibrate` other rows, e.g. some of those that trained the model";
            return Err(Failure::new(same).fix(fix));
        }
        Ok((held_out, Some(calibration)))
    }

    /// The first rows of a data set one by one, as the model takes them.
    fn rows(
        &self,
        set: &DataSet,
        signature: &ModelSignature,
        told: &Told,
    ) -> Result<Rows, Failure> {
        let count = set.rows().min(self.rows.get());
        let first = set.select(&(0..count).collect::<Vec<_>>());
        let preparation = self.pictures.preparation();
        let feed = Feed::of_trained(signature, &told.columns, &first, &preparation);
        let feed = feed.during(|| "the data do not fit the model".into())?;
        let inputs = (0..count).map(|at| feed.inputs(at..at + 1)).collect::<Result<_, _>>()?;
        let (batch, classes) = (feed.batch(), told.classes.clone());
        Ok(Rows { inputs, labels: first.labels().cloned(), batch, classes })
    }

    fn answer(&self, report: &Report, best: Option<Made>) -> Result<Answer, Failure> {
        let mut plain = report.table();
        let mut json = serde_json::to_value(report)?;
        json["machine"] = json!({ "vnni": has_vnni() });
        if has_vnni() == Some(false) {
            plain += "this machine has no VNNI: with it, 8-bit layers are up to twice as fast\n";
        }
        let (Some(best), Some(chosen)) = (best, &report.chosen) else {
            plain += "keep the original: no candidate may replace it, and nothing was written\n";
            json["output"] = Value::Null;
            return Ok(Answer::Refused { plain, json });
        };
        self.force.write(&self.output, &for_backend(best.bytes, chosen.backend)?)?;
        let pack = format!("hospes pack {} --name NAME", sh(&self.output));
        plain += &format!(
            "wrote {} ({}); its backend is {}\nnext: {pack}\n",
            self.output.display(),
            best.notes.join("; "),
            chosen.backend
        );
        json["output"] = json!(self.output.display().to_string());
        json["pack"] = json!(pack);
        Ok(Answer::new(plain, json))
    }
}

/// The model with the name of the backend where it won, which `hospes pack` puts into the manifest.
fn for_backend(bytes: Bytes, backend: BackendKind) -> Result<Vec<u8>, Failure> {
    let mut model =
        Model::read(bytes).during(|| "the model that was made cannot be read".into())?;
    Told { backend: Some(backend.name().to_owned()), ..Told::default() }.write(&mut model);
    model.write().during(|| "the model that was made cannot be written".into())
}

/// Whether the processor multiplies 8-bit numbers as fast as it could. `None` where the system does not say.
fn has_vnni() -> Option<bool> {
    let said = std::fs::read_to_string(Path::new("/proc/cpuinfo")).ok()?;
    let flags = said.lines().find(|line| line.starts_with("flags"))?;
    Some(flags.split_whitespace().any(|flag| matches!(flag, "avx512_vnni" | "avx_vnni")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_percentages_or_parts() {
        assert_eq!(share("3%"), Ok(0.03));
        assert_eq!(share("0.5"), Ok(0.5));
        for wrong in ["", "%", "2", "-1%", "101%", "nan"] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }
}
