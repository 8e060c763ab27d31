//! `hospes train`: trains the model of a recipe, checks it on this machine's backends, and leaves it with its report.

mod agreement;
mod proof;
mod teacher;
mod text;
mod trainer;

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::MakeRuntime;
use super::serve::Settings;
use crate::config::about_bytes;
use crate::evidence::chart::{self, Series};
use crate::id::Digest;
use crate::config::Config;
use crate::training::report::{Agreement, Cost, Embedded, Made, REPORT_VERSION, Read, Taught};
use crate::training::{
    Event, Finished, Job, Pattern, Recipe, Report, Trainer, dataset, recipe, report, run,
};
use hospes_cli::Context;
use hospes_cli::document::Force;
use hospes_cli::failure::Failure;
use hospes_cli::screen::{Answer, Progress, Screen, printable, table};
use trainer::Program;

/// The folder below the output where the trainer works.
const WORK: &str = "work";

/// Train a model from a recipe.
///
/// A recipe is a TOML file: which data, who trains, what the model must reach. Hospes' own trainer reads folders of pictures, IDX, CSV
/// and Parquet, and needs no Python. A program of yours trains under the contract of SageMaker's script mode: it reads
/// `$SM_CHANNEL_TRAIN` and writes `$SM_MODEL_DIR/model.onnx`. It runs without network, and reads its own files and the data only.
///
/// Writes `model.onnx`, `report.json`, `events.jsonl`, `curves.svg` and the trainer's `log.txt` into a folder. A model that misses the
/// recipe's gate, or that a backend computes otherwise than the trainer, is not written.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes train fashion.toml\n  \
    hospes train fashion.toml --set lr=0.01 --seed 3 --out runs/3\n  \
    hospes train fashion.toml --resume\n  \
    hospes train fashion.toml --lock\n\n\
    A recipe for a folder of pictures, with a subfolder for each class:\n\n  \
    [data]\n  train = { path = \"pictures/train\" }\n  test = { path = \"pictures/test\" }\n  \
    [native]\n  task = \"image\"\n  architecture = \"cnn\"\n  \
    [gate]\n  accuracy = 0.9")]
pub struct Train {
    /// The recipe.
    recipe: PathBuf,
    /// Change a setting for this run, such as `lr=0.02`, `epochs=3` or `optimizer.kind=\"adamw\"`.
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// The seed, for `[native]` or as the hyperparameter `seed`.
    #[arg(long)]
    seed: Option<u64>,
    /// Threads of the trainer [default: all of this machine's]. With 1, the same seed gives the same bytes.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Train on this many GPUs.
    #[arg(long, default_value_t = 0)]
    gpus: usize,
    /// The folder for the results [default: the recipe's name without its ending].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on after the last whole epoch of a training that was interrupted.
    #[arg(long)]
    resume: bool,
    /// Do not ask before calls of the model that embeds texts are counted.
    #[arg(long)]
    yes: bool,
    /// Run the trainer with the network and all of your files: for programs that you trust as yourself.
    #[arg(long)]
    unconfined: bool,
    /// Write the digests of the data sets into the recipe, and train nothing.
    #[arg(long, conflicts_with_all = ["resume", "out", "set", "seed"])]
    lock: bool,
    #[command(flatten)]
    force: Force,
    #[command(flatten)]
    settings: Settings,
}

/// What is known before anything is trained.
struct Plan {
    recipe: Recipe,
    recipe_digest: Digest,
    /// The recipe's folder: paths are seen from there.
    beside: PathBuf,
    out: PathBuf,
    data: BTreeMap<String, Read>,
    job: Job,
}

impl Train {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        if self.lock {
            return self.write_digests(context.screen);
        }
        let started = context.clock.now();
        let config = self.settings.clone().read()?;
        let mut plan = self.plan(context.screen)?;
        let learnt_from = plan.ask_models(context, &config, make_runtime, &self)?;
        let program = Program::of(&plan.recipe, &plan.beside, &plan.job, self.unconfined)?;
        let patterns = patterns(&plan.recipe)?;
        let finished = {
            let progress = Told::new(context.screen, &plan.recipe);
            let log = plan.out.join("log.txt");
            run::run(&plan.job, program.confined, &log, &patterns, &mut |event| {
                progress.tell(event);
            })?
        };
        self.keep_events(&plan.out, &finished)?;
        let gate = report::gate(&plan.recipe, &finished.events)?;
        let model = fs::read(plan.job.model())
            .map_err(|error| Failure::file("read", &plan.job.model(), &error))?;
        let agreement = agreement::check(&config, &model, &plan, make_runtime, context.screen)?;
        let Plan { recipe, recipe_digest, beside, out, data, job } = plan;
        let report = Report {
            version: REPORT_VERSION,
            recipe_sha256: recipe_digest,
            trainer: program.name,
            teacher: learnt_from.teacher,
            embeddings: learnt_from.embeddings,
            model: Made { sha256: Digest::of(&model), bytes: model.len() as u64 },
            metrics: finished.events.last(),
            gate,
            agreement,
            cost: Cost::of(&finished, job.threads),
            confined: program.is_confined,
            recipe,
            data,
        };
        write(&out.join("curves.svg"), curves(&finished).as_bytes())?;
        write(&out.join("report.json"), &serde_json::to_vec_pretty(&report)?)?;
        // After all that belongs to it, but for the proof, which is about it.
        write(&out.join("model.onnx"), &model)?;
        let made = proof::Made {
            recipe: &report.recipe,
            data: &report.data,
            teacher: report.teacher.as_ref(),
            embeddings: report.embeddings.as_ref(),
            file: &self.recipe,
            beside: &beside,
            job: &job,
            out: &out,
            confined: report.confined,
            started,
        };
        let signer = proof::write(context, &made)?;
        Ok(answer(&report, &out, signer.as_deref()))
    }

    fn plan(&self, screen: Screen) -> Result<Plan, Failure> {
        let text = recipe::text(&self.recipe)?;
        let mut recipe = Recipe::parse(&text, &self.set)?;
        if let Some(seed) = self.seed {
            if let Some(native) = recipe.native_mut() {
                native.seed = seed;
            } else if let Some(command) = recipe.command_mut() {
                let seed =
                    i64::try_from(seed).map_err(|_| Failure::new("`--seed` is above 2^63"))?;
                command.hyperparameters.insert("seed".into(), seed.into());
            }
        }
        let path = fs::canonicalize(&self.recipe)
            .map_err(|error| Failure::file("read", &self.recipe, &error))?;
        let beside = path.parent().unwrap_or(Path::new("/")).to_owned();
        let name = PathBuf::from(self.recipe.file_stem().unwrap_or_default());
        let out = std::path::absolute(self.out.clone().unwrap_or(name))
            .map_err(|error| Failure::file("use", &path, &error))?;
        self.force.check(&out.join("model.onnx"))?;
        let data = read_data(&recipe, &beside, screen)?;
        let all = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.unwrap_or(all).get();
        let mut job = Job::new(&recipe, &beside, out.join(WORK), threads);
        job.gpus = self.gpus;
        Ok(Plan { recipe, recipe_digest: Digest::of(text.as_bytes()), beside, out, data, job })
    }

    fn write_digests(&self, screen: Screen) -> Result<Answer, Failure> {
        let text = recipe::text(&self.recipe)?;
        let mut unlocked = Recipe::parse(&text, &[])?;
        unlocked.data.values_mut().for_each(|set| set.sha256 = None);
        let beside = self.recipe.parent().unwrap_or(Path::new(""));
        let data = read_data(&unlocked, beside, screen)?;
        let digests = data.iter().map(|(name, read)| (name.clone(), read.sha256)).collect();
        let locked = recipe::locked(&text, &digests)?;
        write(&self.recipe, locked.as_bytes())?;
        let rows: Vec<Vec<String>> = data
            .iter()
            .map(|(name, read)| vec![name.clone(), read.sha256.hex(), read.path.clone()])
            .collect();
        let plain = format!(
            "wrote the digests into {}\n{}",
            self.recipe.display(),
            table(&["data", "sha256", "path"], &rows)
        );
        Ok(Answer::new(
            printable(&plain),
            json!({ "recipe": self.recipe.display().to_string(), "data": data }),
        ))
    }

    /// What was said is kept whether or not the model is.
    fn keep_events(&self, out: &Path, finished: &Finished) -> Result<(), Failure> {
        write(&out.join("events.jsonl"), finished.events.lines().as_bytes())
    }
}

/// Models whose answers the network learns from.
#[derive(Default)]
struct LearntFrom {
    teacher: Option<Taught>,
    embeddings: Option<Embedded>,
}

impl Plan {
    /// Makes the job's folders, and asks the models that the recipe names about its rows.
    fn ask_models(
        &mut self,
        context: &Context,
        config: &Config,
        make_runtime: MakeRuntime,
        given: &Train,
    ) -> Result<LearntFrom, Failure> {
        fs::create_dir_all(&self.out).map_err(|error| Failure::file("make", &self.out, &error))?;
        run::prepare(&self.job, !given.resume)?;
        let Trainer::Native(native) = self.recipe.trainer() else {
            return Ok(LearntFrom::default());
        };
        let (beside, data) = (&self.beside, &self.data);
        let texts =
            text::Texts { context, native, beside, out: &self.out, data, is_told: given.yes };
        let (tables, embeddings) = texts.embed()?.unzip();
        self.job.channels.extend(tables.into_iter().flatten());
        let lesson = teacher::Lesson {
            config,
            native,
            beside,
            rows: &self.job.channels["train"],
            folder: &self.job.folder,
        };
        let (answers, teacher) = lesson.give(make_runtime, context.screen)?.unzip();
        self.job.teacher = answers;
        Ok(LearntFrom { teacher, embeddings })
    }
}

/// Reads each data set whole, and compares it with the recipe.
fn read_data(
    recipe: &Recipe,
    beside: &Path,
    screen: Screen,
) -> Result<BTreeMap<String, Read>, Failure> {
    let progress = screen.spinner("reading the data");
    let mut data = BTreeMap::new();
    for (name, set) in &recipe.data {
        let path = beside.join(&set.path);
        progress.step(&format!("reading data set `{name}`"));
        let seen = dataset::digest(&path)?;
        if let Some(stated) = set.sha256.as_ref().filter(|stated| **stated != seen.digest.hex()) {
            let (name, found, stated) = (name.clone(), seen.digest.hex(), stated.clone());
            return Err(dataset::DataSetError::Changed { name, path, found, stated }.into());
        }
        data.insert(
            name.clone(),
            Read::new(set.path.display().to_string(), &seen, set.licence.clone()),
        );
    }
    Ok(data)
}

fn patterns(recipe: &Recipe) -> Result<Vec<Pattern>, Failure> {
    match recipe.trainer() {
        Trainer::Native(_) => Ok(Vec::new()),
        Trainer::Command(command) => {
            Ok(command.metrics.iter().map(|metric| metric.compile()).collect::<Result<_, _>>()?)
        }
    }
}

/// Shows what the trainer says.
struct Told {
    progress: Progress,
    screen: Screen,
    epochs: Option<u32>,
    epoch: std::cell::Cell<u64>,
}

impl Told {
    fn new(screen: Screen, recipe: &Recipe) -> Self {
        let epochs = match recipe.trainer() {
            Trainer::Native(native) => Some(native.epochs_in_all()),
            Trainer::Command(_) => None,
        };
        Self {
            progress: screen.part_bar("training"),
            screen,
            epochs,
            epoch: std::cell::Cell::new(1),
        }
    }

    fn tell(&self, event: &Event) {
        if let Some(part) = event.progress {
            self.progress.part(part);
        }
        let mut line = String::new();
        if let Some(epoch) = event.epoch {
            let of = self.epochs.map(|epochs| format!("/{epochs}")).unwrap_or_default();
            line = format!("epoch {epoch}{of}");
            self.epoch.set(epoch + 1);
        }
        for (name, value) in &event.metrics {
            line += &format!("  {name} {value:.4}");
        }
        if let Some(message) = &event.message {
            line += &format!("  {message}");
        }
        if !line.is_empty() && !self.screen.is_json() {
            self.progress.line(&printable(line.trim_start()));
        }
    }
}

/// The curves of what was said more than once: losses and scores by epoch.
fn curves(finished: &Finished) -> String {
    let curves = finished.events.curves().into_iter().filter(|(_, points)| points.len() > 1);
    let series: Vec<Series> = curves.map(|(name, points)| Series { name, points }).collect();
    chart::curves("Training", "epoch", "value", &series)
}

fn answer(report: &Report, out: &Path, signer: Option<&str>) -> Answer {
    let mut plain = format!("wrote {}\n", out.join("model.onnx").display());
    let mut line = |name: &str, text: String| plain += &format!("  {name:<9}  {text}\n");
    line("model", format!("{}, {}", about_bytes(report.model.bytes), report.model.sha256));
    let metrics: Vec<String> =
        report.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    line("metrics", metrics.join(", "));
    for passed in &report.gate {
        line(
            "gate",
            format!(
                "{} {:.4}, at least {:.4} was asked",
                passed.metric, passed.reached, passed.wanted
            ),
        );
    }
    for Agreement { backend, rows, difference } in &report.agreement {
        line(
            "equal",
            format!("{backend} answers {rows} rows as the trainer did, within {difference:.1e}"),
        );
    }
    if report.agreement.is_empty() {
        line(
            "equal",
            "not compared: the trainer left no `answers.npz` in `$SM_OUTPUT_DATA_DIR`".into(),
        );
    }
    let Cost { cpu_seconds, wall_seconds, threads } = report.cost;
    line(
        "cost",
        format!("{cpu_seconds:.1} s of CPU time in {wall_seconds:.1} s, {threads} threads"),
    );
    line(
        "trainer",
        format!(
            "{}{}",
            report.trainer,
            if report.confined { ", confined" } else { ", not confined" }
        ),
    );
    line(
        "proof",
        match signer {
            Some(signer) => format!("{}, signed by {signer}", proof::PROVENANCE),
            None => {
                "none: there is no key to sign with; make one with `hospes keys new NAME`".into()
            }
        },
    );
    let json = json!({ "signer": signer, "out": out.display().to_string(), "report": report });
    Answer::new(printable(plain.trim_end()), json)
}

/// Writes a file that is there whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("write", path, &error);
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    let mut file =
        tempfile::Builder::new().permissions(readable()).tempfile_in(folder).map_err(failed)?;
    std::io::Write::write_all(&mut file, bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed)?;
    file.persist(path).map(drop).map_err(|error| failed(error.error))
}

/// As files usually are; temporary ones are only for their owner otherwise.
fn readable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}
