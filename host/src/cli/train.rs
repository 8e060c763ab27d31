//! `hospes train`: trains the model of a recipe, checks it on this machine's backends, and leaves it with its report.

mod backends;
mod inputs;
mod proof;
mod teacher;
mod text;
pub(super) mod trainer;

use std::cell::{Cell, OnceCell, RefCell};
use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Args;
use serde_json::json;

use super::{MakeRuntime, serve};
use crate::bundle::provenance::Artifact;
use crate::config::{Config, about_bytes};
use crate::confine::{self, Confined};
use crate::evidence::chart::{self, Series};
use crate::id::Digest;
use crate::training::report::{Compared, Cost, Embedded, Made, REPORT_VERSION};
use crate::training::{
    Event, Events, Finished, Job, Limits, Log, Pattern, Recipe, Report, Trainer, contract, events,
    prepare, recipe, report, run,
};
use hospes_cli::Context;
use hospes_cli::document::Force;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::{Answer, Progress, Screen, printable, table};
use inputs::Inputs;
use trainer::Program;

/// The folder below the output where the trainer works.
const WORK: &str = "work";

/// The files of a training beside it.
const MODEL: &str = contract::MODEL;
const REPORT: &str = "report.json";
const EVENTS: &str = "events.jsonl";
const CURVES: &str = "curves.svg";
const LOG: &str = "log.txt";
const FILES: [&str; 6] = [MODEL, REPORT, EVENTS, CURVES, LOG, proof::PROVENANCE];

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
    /// End the training if less than this is free on the disk of the results, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = Limits::default().disk_free_bytes_min >> 20)]
    keep_free: u64,
    /// The data directory whose ONNX Runtime to use, if it is not installed elsewhere [default: hospes-data].
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    host_data: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

/// What is known before anything is trained.
struct Plan {
    recipe: Recipe,
    recipe_digest: Digest,
    /// The recipe's folder: paths are seen from there.
    beside: PathBuf,
    out: PathBuf,
    inputs: Inputs,
    job: Job,
}

impl Train {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        if self.lock {
            return self.write_digests(context.screen);
        }
        let started = context.clock.now();
        let mut plan = self.plan(context.screen)?;
        let Program { name, path, confined, is_confined } =
            Program::of(&plan.recipe, &plan.beside, &plan.job, self.unconfined)?;
        plan.inputs.add_code(&plan.recipe, &plan.beside, &path)?;
        plan.inputs.lie_apart(&plan.out)?;
        if is_confined {
            // Before an earlier model is removed.
            let folder = tempfile::tempdir().during(|| "cannot make a temporary folder".into())?;
            confine::attempt(folder.path()).during(|| "the trainer could not be started".into())?;
        }
        let config = serve::config(None, self.host_data.clone())?;
        let key = proof::key(context)?;
        let ran = proof::Ran { program: proof::native(&plan.recipe, &path)?, is_confined, started };
        if let Some(key) = &key {
            plan.made(ran, None).check(key)?;
        }
        // Whoever does not agree to the calls keeps an earlier model.
        let (tables, embeddings) = plan.embed_texts(context, self.yes)?;
        let confined = tables.iter().fold(confined, Confined::reading);
        self.make_folders(&plan, context.screen)?;
        plan.ask_teacher(&config, make_runtime, context.screen)?;
        let made = plan.made(ran, embeddings.as_ref());
        let mut finished = self.train(&plan, confined, context.screen)?;
        let gate = report::gate(&plan.recipe, &finished.events)?;
        plan.inputs.check(context.screen)?;
        let model = Bytes::from(std::mem::take(&mut finished.model));
        let backends =
            backends::check(&config, model.clone(), &plan, make_runtime, context.screen)?;
        let out = &plan.out;
        let report = Report {
            version: REPORT_VERSION,
            recipe: plan.recipe.clone(),
            recipe_sha256: plan.recipe_digest,
            data: plan.inputs.data_read(),
            trainer: name,
            teacher: plan.inputs.teacher(),
            embeddings: embeddings.clone(),
            model: Made { sha256: Digest::of(&model), bytes: model.len() as u64 },
            metrics: finished.events.last(),
            gate,
            backends,
            cost: Cost::of(&finished, plan.job.threads),
            confined: is_confined,
        };
        write(&out.join(CURVES), curves(&finished).as_bytes())?;
        let written = serde_json::to_vec_pretty(&report)?;
        write(&out.join(REPORT), &written)?;
        // After all that belongs to it, but for the proof, which is about it.
        write(&out.join(MODEL), &model)?;
        if let Some(key) = &key {
            let Made { sha256, bytes } = report.model;
            let files = proof::Files {
                model: Artifact { name: MODEL.into(), sha256, bytes },
                report: Artifact::of_bytes(REPORT, &written),
                events: Artifact::of_bytes(EVENTS, finished.events.lines().as_bytes()),
            };
            made.write(out, files, key, context.clock.now())?;
        }
        let signer = key.map(|key| key.party().to_string());
        Ok(answer(&report, &finished.events, out, signer.as_deref()))
    }

    /// Makes the folders of the results and of the trainer. Whatever this training comes to, none of its files is then one of an earlier one.
    fn make_folders(&self, plan: &Plan, screen: Screen) -> Result<(), Failure> {
        let checkpoints = plan.job.checkpoints();
        let is_there = fs::read_dir(&checkpoints).is_ok_and(|mut found| found.next().is_some());
        // A model says that the training has ended: whoever replaces it wants a new one.
        let has_ended = plan.out.join(MODEL).exists();
        match (self.resume, is_there) {
            (true, false) => screen.note(&format!(
                "nothing to resume: there is no checkpoint in `{}`, so the training starts anew",
                checkpoints.display()
            )),
            (false, true) if !has_ended => screen.note(
                "starting anew: the checkpoint of an earlier training is removed; `--resume` would have continued from it",
            ),
            _ => {}
        }
        fs::create_dir_all(&plan.out).map_err(|error| Failure::file("make", &plan.out, &error))?;
        FILES.iter().try_for_each(|name| prepare::remove(&plan.out.join(name)))?;
        Ok(prepare::prepare(&plan.job, !self.resume)?)
    }

    /// Runs the trainer to its end. What it said is kept whether or not the model is.
    fn train(&self, plan: &Plan, program: Confined, screen: Screen) -> Result<Finished, Failure> {
        let patterns = patterns(&plan.recipe)?;
        let progress = Told::new(screen, &plan.recipe);
        let limits = self.limits();
        let log = Log::create(&plan.out.join(LOG), limits.log_bytes_max)?;
        let finished = run::run(&plan.job, program, log, &patterns, &limits, &mut |event| {
            progress.tell(event);
        })?;
        write(&plan.out.join(EVENTS), finished.events.lines().as_bytes())?;
        Ok(finished)
    }

    fn limits(&self) -> Limits {
        let disk_free_bytes_min = self.keep_free.saturating_mul(1 << 20);
        Limits { disk_free_bytes_min, ..Limits::default() }
    }

    fn plan(&self, screen: Screen) -> Result<Plan, Failure> {
        let text = recipe::text(&self.recipe)?;
        let mut recipe = Recipe::parse(&text, &self.set)?;
        if let Some(seed) = self.seed {
            recipe.set_seed(seed)?;
        }
        let path = fs::canonicalize(&self.recipe)
            .map_err(|error| Failure::file("read", &self.recipe, &error))?;
        let beside = path.parent().unwrap_or(Path::new("/")).to_owned();
        let name = PathBuf::from(self.recipe.file_stem().unwrap_or_default());
        let out = std::path::absolute(self.out.clone().unwrap_or(name))
            .map_err(|error| Failure::file("use", &path, &error))?;
        self.force.check(&out.join(MODEL))?;
        let mut inputs = Inputs::of_recipe(&path, &text);
        inputs.add_data(&recipe, &beside, screen)?;
        inputs.add_teacher(&recipe, &beside)?;
        let all = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        let threads = self.threads.unwrap_or(all).get();
        let mut job = Job::new(&recipe, &beside, out.join(WORK), threads);
        job.gpus = self.gpus;
        let recipe_digest = Digest::of(text.as_bytes());
        Ok(Plan { recipe, recipe_digest, beside, out, inputs, job })
    }

    fn write_digests(&self, screen: Screen) -> Result<Answer, Failure> {
        let text = recipe::text(&self.recipe)?;
        let mut unlocked = Recipe::parse(&text, &[])?;
        unlocked.data.values_mut().for_each(|set| set.sha256 = None);
        let beside = self.recipe.parent().unwrap_or(Path::new(""));
        let mut inputs = Inputs::of_recipe(&self.recipe, &text);
        inputs.add_data(&unlocked, beside, screen)?;
        let data = inputs.data_read();
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
}

impl Plan {
    /// Makes tables of the texts, if the recipe is of texts, and gives them to the trainer.
    fn embed_texts(
        &mut self,
        context: &Context,
        is_told: bool,
    ) -> Result<(Vec<PathBuf>, Option<Embedded>), Failure> {
        let Trainer::Native(native) = self.recipe.trainer() else { return Ok((Vec::new(), None)) };
        let (beside, out, data) = (&self.beside, &self.out, &self.inputs.data_read());
        let texts = text::Texts { context, native, beside, out, data, is_told };
        let Some((tables, embedded)) = texts.embed()? else { return Ok((Vec::new(), None)) };
        let paths = tables.values().cloned().collect();
        self.job.channels.extend(tables);
        Ok((paths, Some(embedded)))
    }

    /// Gives the trainer the teacher's answers, if the recipe has one.
    fn ask_teacher(
        &mut self,
        config: &Config,
        make_runtime: MakeRuntime,
        screen: Screen,
    ) -> Result<(), Failure> {
        let Trainer::Native(native) = self.recipe.trainer() else { return Ok(()) };
        let (rows, folder) = (&self.job.channels["train"], &self.job.folder);
        let lesson = teacher::Lesson { config, native, beside: &self.beside, rows, folder };
        self.job.teacher = lesson.give(make_runtime, screen)?;
        Ok(())
    }

    /// What a proof says of how the model was made.
    fn made<'p>(&'p self, ran: proof::Ran, embeddings: Option<&'p Embedded>) -> proof::Made<'p> {
        let Self { recipe, job, inputs, .. } = self;
        proof::Made { recipe, job, inputs, embeddings, ran }
    }
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
    /// While Hospes' own trainer reads the data. It ends with the first event.
    reading: RefCell<Option<Progress>>,
    training: OnceCell<Progress>,
    screen: Screen,
    epochs: Option<u32>,
    /// Lines since then.
    shown: Cell<(Instant, u32)>,
}

/// Most lines that a trainer may show in a second.
const LINES_A_SECOND: u32 = 20;

impl Told {
    fn new(screen: Screen, recipe: &Recipe) -> Self {
        let (epochs, reading) = match recipe.trainer() {
            Trainer::Native(native) => {
                (Some(native.epochs_in_all()), Some(screen.spinner("checking the data")))
            }
            Trainer::Command(_) => (None, None),
        };
        let told = Self {
            reading: RefCell::new(reading),
            training: OnceCell::new(),
            screen,
            epochs,
            shown: Cell::new((Instant::now(), 0)),
        };
        // A script need not say anything.
        if told.epochs.is_none() {
            told.training();
        }
        told
    }

    fn training(&self) -> &Progress {
        self.reading.take();
        self.training.get_or_init(|| self.screen.part_bar("training"))
    }

    /// Whether another line fits into this second. All lines are in the events.
    fn may_show(&self) -> bool {
        let (since, count) = self.shown.get();
        let is_past = since.elapsed() >= Duration::from_secs(1);
        self.shown.set(if is_past { (Instant::now(), 1) } else { (since, count + 1) });
        is_past || count < LINES_A_SECOND
    }

    fn tell(&self, event: &Event) {
        let progress = self.training();
        if let Some(part) = event.progress {
            progress.part(part);
        }
        let mut line = String::new();
        if let Some(epoch) = event.epoch {
            let of = self.epochs.map(|epochs| format!("/{epochs}")).unwrap_or_default();
            line = format!("epoch {epoch}{of}");
        }
        for (name, value) in &event.metrics {
            line += &match value.abs() < 1e6 {
                true => format!("  {name} {value:.4}"),
                false => format!("  {name} {value:.4e}"),
            };
        }
        if let Some(message) = &event.message {
            line += &format!("  {message}");
        }
        if !line.is_empty() && !self.screen.is_json() && self.may_show() {
            progress.line(&printable(line.trim_start()));
        }
    }
}

/// The curves of what was said more than once: losses and scores by epoch.
fn curves(finished: &Finished) -> String {
    let curves = finished.events.curves().into_iter().filter(|(_, points)| points.len() > 1);
    let series: Vec<Series> = curves.map(|(name, points)| Series { name, points }).collect();
    chart::curves("Training", "epoch", "value", &series)
}

/// The metrics whose patterns matched nothing that the script printed, and that it has not said in its events either.
fn unmatched(report: &Report) -> Vec<&str> {
    let Trainer::Command(command) = report.recipe.trainer() else { return Vec::new() };
    let names = command.metrics.iter().map(|metric| metric.name.as_str());
    names.filter(|name| !report.metrics.contains_key(*name)).collect()
}

fn answer(report: &Report, events: &Events, out: &Path, signer: Option<&str>) -> Answer {
    let (dropped, unmatched) = (events.dropped, unmatched(report));
    let mut plain = format!("wrote {}\n", out.join(MODEL).display());
    let mut line = |name: &str, text: String| plain += &format!("  {name:<9}  {text}\n");
    line("model", format!("{}, {}", about_bytes(report.model.bytes), report.model.sha256));
    let metrics: Vec<String> =
        report.metrics.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
    line("metrics", metrics.join(", "));
    for name in &unmatched {
        line("warning", format!("`metrics`: the pattern of `{name}` matched no line of {LOG}"));
    }
    if dropped > 0 {
        let kept = events::EVENTS_MAX;
        line("events", format!("the first {kept} are kept, {dropped} more are not"));
    }
    for passed in &report.gate {
        line(
            "gate",
            format!(
                "{} {:.4}, at least {:.4} was asked",
                passed.metric, passed.reached, passed.wanted
            ),
        );
    }
    for Compared { backend, rows, difference } in &report.backends {
        line(
            "equal",
            format!("{backend} answers {rows} rows as the trainer did, within {difference:.1e}"),
        );
    }
    if report.backends.is_empty() {
        line(
            "equal",
            format!(
                "not compared: the trainer left no `{}` in `${}`",
                contract::ANSWERS,
                contract::OUTPUT_DIR
            ),
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
    let json = json!({
        "signer": signer, "out": out.display().to_string(), "report": report, "events_dropped": dropped,
        "metrics_unmatched": unmatched
    });
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
