//! Weights without a graph: those of the network of a recipe, into which Hospes' own trainer puts them.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::train::trainer::Program;
use crate::convert::{EXPORT, Weight, Weights};
use crate::training::native::Task;
use crate::training::weights::{self, Scaling};
use crate::training::{Job, Limits, Log, Recipe, RunError, Trainer, dataset, prepare, recipe, run};
use hospes_cli::failure::{During as _, Failure};

/// What computes with weights alone.
#[derive(Debug, Args)]
pub(super) struct Network {
    /// For a file of weights only (`state_dict`, `.safetensors`): the recipe of `hospes train` with their network and its data.
    #[arg(long, value_name = "RECIPE.toml", conflicts_with_all = ["allow_pickle", "python"])]
    pub recipe: Option<PathBuf>,
    /// With `--recipe`: your code divided the inputs by this, 1 if it left them [default: as the recipe's training scales them].
    #[arg(long, value_name = "NUMBER", requires = "recipe")]
    divide: Option<f64>,
    /// Then it subtracted this mean: one number, or one for each channel or column of numbers.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "recipe")]
    mean: Vec<f64>,
    /// Then it divided by this deviation: one number, or one for each channel or column of numbers.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', requires = "recipe")]
    deviation: Vec<f64>,
}

impl Network {
    /// The model of these weights, made by Hospes' own trainer. The recipe's data say its sizes, columns and classes.
    ///
    /// # Errors
    /// If the recipe has another trainer or cannot be used, or if the weights do not fit its network.
    pub(super) fn with(
        &self,
        path: &Path,
        given: Weights,
        unconfined: bool,
    ) -> Result<Vec<u8>, Failure> {
        let text = recipe::text(path)?;
        let recipe = Recipe::parse(&text, &[])?;
        check(&recipe)?;
        let at =
            std::fs::canonicalize(path).map_err(|error| Failure::file("read", path, &error))?;
        let beside = at.parent().unwrap_or(Path::new("/"));
        if let Some(set) = recipe.data.get("train") {
            dataset::read("train", set, beside)?;
        }
        let folder = tempfile::tempdir().during(|| "cannot make a temporary folder".into())?;
        let mut job = Job::new(&recipe, beside, folder.path().join("work"), 1);
        job.channels.retain(|name, _| name == "train");
        prepare::prepare(&job, true)?;
        let file = job.folder.join("weights");
        self.handed_over(given)?.write(&file)?;
        job.weights = Some(file);
        let program = Program::of(&recipe, beside, &job, unconfined)?;
        // Its folder is a temporary one, with the weights and the model only.
        let limits = Limits { disk_free_bytes_min: 0, ..Limits::default() };
        let log = Log::create(&folder.path().join("log"), limits.log_bytes_max)?;
        match run::run(&job, program.confined, log, &[], &limits, &mut |_| ()) {
            Ok(finished) => Ok(finished.model),
            Err(RunError::Unfit { lines }) => {
                // What is said of an option has its own fix.
                let of_option = lines.iter().find(|line| line.starts_with("`--"));
                if let Some((what, fix)) = of_option.and_then(|line| line.split_once(": ")) {
                    return Err(Failure::new(what).fix(fix));
                }
                let what = format!(
                    "the weights do not fit `{}`:\n  {}",
                    path.display(),
                    lines.join("\n  ")
                );
                Err(Failure::new(what).fix(format!(
                    "correct `architecture` or `widths`; the layers of each are listed in host/docs/convert.md; a network of other layers: \
                     `{EXPORT}`, then `hospes pack`",
                )))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn handed_over(
        &self,
        Weights { tensors, is_ordered }: Weights,
    ) -> Result<weights::Weights, Failure> {
        let tensor = |(Weight { name, shape, .. }, numbers): (Weight, Vec<f32>)| {
            let shape = shape.into_iter().filter_map(|size| usize::try_from(size).ok()).collect();
            weights::Tensor { name, shape, numbers }
        };
        let tensors = tensors.into_iter().map(tensor).collect();
        Ok(weights::Weights { tensors, is_ordered, scaling: self.scaling()? })
    }

    fn scaling(&self) -> Result<Option<Scaling>, Failure> {
        let Self { divide, mean, deviation, .. } = self;
        let is_stated = divide.is_some() || !mean.is_empty() || !deviation.is_empty();
        for (option, numbers, least) in [
            ("divide", divide.as_slice(), f64::MIN_POSITIVE),
            ("mean", mean.as_slice(), f64::MIN),
            ("deviation", deviation.as_slice(), f64::MIN_POSITIVE),
        ] {
            if let Some(number) =
                numbers.iter().find(|number| !number.is_finite() || **number < least)
            {
                let fix = if option == "mean" { "give a number" } else { "give a number above 0" };
                return Err(Failure::new(format!("`--{option}` is {number}")).fix(fix));
            }
        }
        let (mean, deviation) = (mean.clone(), deviation.clone());
        Ok(is_stated.then(|| Scaling { divide: divide.unwrap_or(1.0), mean, deviation }))
    }
}

/// Whether Hospes has the network of a recipe, and all that its shape depends on.
fn check(recipe: &Recipe) -> Result<(), Failure> {
    let native = match recipe.trainer() {
        Trainer::Native(native) => native,
        Trainer::Command(_) => {
            let fix = "name one with `[native]`, or export the model in your own code with `torch.onnx.export`";
            return Err(Failure::new("only the script of this recipe knows its network").fix(fix));
        }
    };
    if native.task == Task::Text {
        let fix = "use `task = \"table\"` with a table of the vectors";
        return Err(Failure::new("the inputs of this recipe's network are vectors of texts, which only a training asks for").fix(fix));
    }
    Ok(())
}
