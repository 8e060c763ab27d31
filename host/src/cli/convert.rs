//! `hospes convert`: other libraries' models as ONNX, compared with their source before there is a file.
//!
//! Decides nothing: the crate `hospes_convert` reads, exports and compares. Here are its files and the host's own workers, which compute.

mod recipe;
mod workers;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde_json::json;

use super::{MakeRuntime, serve};
use crate::config::about_bytes;
use crate::confine::Confinement;
use crate::convert::{
    Compared, Converted, Python, Source, Task, convert, weights_of, with_weights,
};
use crate::onnx::Told;
use hospes_cli::Context;
use hospes_cli::document::Force;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::pack;
use hospes_cli::screen::{Answer, printable};
use hospes_cli::shell::path as sh;
use recipe::Network;
use workers::Workers;

/// Convert a model of another library to ONNX, checked against its own answers.
///
/// XGBoost's JSON and UBJSON and LightGBM's text are read as data. Models of scikit-learn, PyTorch and Keras are exported by their own
/// library in a Python environment: without network, and with access to the model, the rows and one folder only. A pickle can run any
/// code, so it needs `--allow-pickle`.
///
/// Weights without a network, as in a `state_dict` or a safetensors file, are read as data and put into the network of a recipe of
/// `hospes train`, which `--recipe` names.
///
/// The rows go through the source and through the ONNX file on each backend of this machine. Unless labels are equal and numbers differ
/// by at most 1e-5, there is no file and the exit code is 1. For XGBoost, LightGBM and weights the rows' file has the source's own answers in an
/// array `expected`; for the first two `--python` can name a Python that computes them instead.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes convert model.json --verify rows.npz -o model.onnx\n  \
    hospes convert pipeline.pkl --allow-pickle --verify rows.npz -o model.onnx\n  \
    hospes convert weights.pt --recipe fashion.toml --divide 255 --verify rows.npz -o model.onnx\n\n\
    In Python, after training:\n  np.savez(\"rows.npz\", X=X, expected=model.predict_proba(X))"
)]
pub struct Convert {
    /// The model.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// Rows that both compute: `.npz`, `.npy` or `.csv`.
    #[arg(long, value_name = "ROWS")]
    verify: PathBuf,
    /// The library that made the model [default: as the file's name and first bytes tell].
    #[arg(long, value_name = "LIBRARY")]
    from: Option<Source>,
    #[command(flatten)]
    network: Network,
    /// Load a pickle. A pickle can run any code that its author chose.
    #[arg(long)]
    allow_pickle: bool,
    /// Run Python, or the recipe's trainer, with your own rights, for machines that cannot confine it.
    #[arg(long)]
    unconfined: bool,
    /// A Python that has the library, instead of an environment of our own.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,
    /// Seconds that the library may take.
    #[arg(long, value_name = "SECONDS", default_value = "600")]
    seconds: std::num::NonZeroU32,
    /// The file for the ONNX model.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The data directory whose ONNX Runtime to use, if it is not installed elsewhere [default: hospes-data].
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    host_data: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

impl Convert {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        self.force.check_whole(&self.output)?;
        let config = serve::config(None, self.host_data.clone())?;
        let runtime = make_runtime().during(|| "cannot start threads".into())?;
        let workers = Workers::start(runtime, &config)?;
        let confinement = if self.unconfined { Confinement::None } else { Confinement::Full };
        let task = Task {
            path: &self.source,
            source: self.from,
            rows: &self.verify,
            allow_pickle: self.allow_pickle,
            python: Python {
                interpreter: self.python.clone(),
                cache: cache()?,
                confinement,
                deadline: Duration::from_secs(self.seconds.get().into()),
            },
        };
        let bar = context.screen.spinner(&format!("converting {}", self.source.display()));
        let converted = self.convert(&task, &workers, &mut |what| bar.step(what));
        drop(bar);
        let converted = converted?;
        self.force.write(&self.output, &converted.onnx)?;
        Ok(self.answer(&converted))
    }

    fn convert(
        &self,
        task: &Task<'_>,
        workers: &Workers,
        progress: &mut dyn FnMut(&str),
    ) -> Result<Converted, Failure> {
        let Some(recipe) = &self.network.recipe else {
            return Ok(convert(task, workers, progress)?);
        };
        progress("reading the weights");
        let weights = weights_of(task)?;
        progress("putting them into the recipe's network");
        let onnx = self.network.with(recipe, weights, self.unconfined)?;
        Ok(with_weights(task, onnx.into(), workers, progress)?)
    }

    fn answer(&self, converted: &Converted) -> Answer {
        let Converted { source, rows, expected_from, compared, cures, onnx, labels_met } =
            converted;
        let mut plain = format!("{rows} rows of {source} compared with {expected_from}\n");
        for entry in compared {
            plain += &match &entry.not_loaded {
                Some(why) => format!("  {}: does not run it ({why})\n", entry.backend),
                None => format!("  {}: {}\n", entry.backend, equal(entry)),
            };
        }
        for cure in cures {
            plain += &format!("  changed for hosts: {cure}\n");
        }
        let told = Told::of_bytes(onnx);
        plain += &printable(&pack::told("model", &told));
        if let Some(met) = labels_met {
            plain += &format!(
                "  the highest score in `expected` is of the row's label in {met} of {rows} rows\n"
            );
            if met * 2 < *rows {
                plain += "  if your network does better, its classes are in another order than the recipe's: do not pack this model\n";
            }
        }
        let mut pack = format!("hospes pack {} --name NAME", sh(&self.output));
        // The bundle then says which backend runs the model.
        let runs = compared.iter().find(|entry| entry.not_loaded.is_none());
        if let Some(entry) = runs.filter(|_| compared.iter().any(|one| one.not_loaded.is_some())) {
            pack += &format!(" --backend {}", entry.backend);
        }
        let output = self.output.display();
        plain += &format!("wrote {output} ({})\nnext: {pack}\n", about_bytes(onnx.len() as u64));
        let json = json!({
            "output": output.to_string(), "bytes": onnx.len(), "source": source.to_string(), "rows": rows,
            "expected_from": expected_from, "compared": compared, "cures": cures, "pack": pack,
            "classes": told.classes, "labels_met": labels_met,
        });
        Answer::new(plain, json)
    }
}

/// What was the same, of what there was.
fn equal(entry: &Compared) -> String {
    let labels = (entry.labels > 0).then(|| format!("{} labels equal", entry.labels));
    let numbers = (entry.numbers > 0)
        .then(|| format!("{} numbers at most {:.1e} apart", entry.numbers, entry.difference_max));
    labels.into_iter().chain(numbers).collect::<Vec<_>>().join(", ")
}

/// Where environments are made: below the user's cache.
fn cache() -> Result<PathBuf, Failure> {
    let given = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = given("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(given("HOME")?).join(".cache")));
    let cache = cache.ok_or_else(|| {
        Failure::new("there is no folder for Python environments").fix("set XDG_CACHE_HOME")
    })?;
    Ok(cache.join("hospes/convert"))
}
