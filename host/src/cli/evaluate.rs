//! `hospes evaluate`: a model on held-out rows, on each backend of this machine or as a published function.

mod published;
mod reported;
mod show;
pub(super) mod subject;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use tokio::runtime::Runtime;

use super::MakeRuntime;
use crate::backend::BackendKind;
use crate::convert::{EXPECTED, EXPECTED_LABELS};
use crate::data::croissant::Croissant;
use crate::data::{self, DataError, DataSet, LabelKind, Labels, PictureOptions, Problem};
use crate::evaluate::{
    Answers, Evaluator, Feed, FeedError, Figures, Loaded, Metric, Pool, Preparation, RUNS, Report,
    Rows, Run, interleaved, judge, profile,
};
use crate::host::inference_settings;
use hospes_cli::Context;
use hospes_cli::document::Force;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen::{Answer, Progress};
use reported::Said;
use subject::{Model, load_on_first};

/// Measure a model on held-out data.
///
/// MODEL is an ONNX file, a bundle, or a published function (`publisher/model`, called over HTTP with your key; every call counts under
/// your agreement). Files and bundles run as `hospes serve` runs them, in confined worker processes, on each backend that this machine has. Reports
/// accuracy with its interval, each class and the confusion matrix; R2 for numbers; agreement or cosine with another model; the time of one row
/// (p50, p95) and memory. Without labels nothing is called accuracy.
///
/// The data are rows that the model has not seen: `.npy`, `.npz`, `.csv`, `.tsv`, `.parquet`, IDX, or a folder of pictures with a subfolder
/// for each class. Every fault in them is named before anything is computed.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes evaluate iris.onnx --data held-out.csv --label species\n  \
    hospes evaluate small.onnx --data rows.npz --reference large.onnx --metric agreement\n  \
    hospes evaluate small.onnx --data sentences.npz --reference minilm.onnx --pool mean\n  \
    hospes evaluate lenet.onnx --data fashion/t10k --divide 255 --plot confusion.svg --profile p.json"
)]
pub struct Evaluate {
    /// An ONNX file, a bundle (`.wasm`), or `publisher/model` on the host.
    #[arg(value_name = "MODEL")]
    model: String,
    /// The held-out rows: a file, a folder, or what a pair of IDX files begins with.
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// What to measure [default: accuracy for classes, r2 for numbers, agreement with `--reference`].
    #[arg(long, value_enum)]
    metric: Option<MetricName>,
    /// Compare one vector of each row, as users of a text encoder make it: the `mean` of its tokens' over `attention_mask`, or that of its
    /// first token (`cls`). The metric is then `cosine`.
    #[arg(long, value_name = "POOL", value_parser = pool)]
    pool: Option<Pool>,
    /// The model to compare answers with, for `agreement` and `cosine`: an ONNX file or a bundle.
    #[arg(long, value_name = "MODEL")]
    reference: Option<String>,
    /// Measure on this backend only.
    #[arg(long, value_parser = backend)]
    backend: Option<BackendKind>,
    /// The column or array with the labels [default: y, label, labels, target or class].
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// The output that holds the answers [default: one of labels, else the first].
    #[arg(long, value_name = "NAME")]
    output: Option<String>,
    /// A column of a CSV file that is text although it looks like numbers.
    #[arg(long = "text", value_name = "COLUMN")]
    text: Vec<String>,
    /// Use the first rows only.
    #[arg(long, value_name = "COUNT", conflicts_with = "report")]
    rows: Option<usize>,
    /// Compare the figures with those that a report has of the same rows: `report.json` of `hospes train`, or what `--json` printed. The
    /// exit code is 1 if they differ.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    #[command(flatten)]
    pictures: Pictures,
    /// Write the reference for monitoring: bins and counts of inputs and outputs. Needs at least 2,000 rows.
    #[arg(long, value_name = "FILE")]
    profile: Option<PathBuf>,
    /// Write a chart as SVG: the confusion matrix, or the figures of each backend.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// The agreement to call a published function under [default: the host picks one of yours].
    #[arg(long, value_name = "ID")]
    agreement: Option<crate::id::Digest>,
    /// Do not ask before calls of a published function are counted.
    #[arg(long)]
    yes: bool,
    /// The data directory whose ONNX Runtime to use, if it is not installed elsewhere [default: hospes-data].
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    host_data: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

/// How pictures become the numbers that a model takes.
#[derive(Debug, Args)]
pub(super) struct Pictures {
    /// Divide the bytes of pictures: 255 for 0 to 1, 1 to leave them.
    #[arg(long, value_name = "NUMBER")]
    divide: Option<f64>,
    /// Then subtract this mean: one number, or one for each channel.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    mean: Vec<f64>,
    /// Then divide by this deviation: one number, or one for each channel.
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',')]
    deviation: Vec<f64>,
    /// Repeat the channel of grey pictures for a model that takes three.
    #[arg(long)]
    grey_to_rgb: bool,
    /// Scale the pictures of a folder to this size.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    size: Option<(u32, u32)>,
}

impl Pictures {
    /// Why data were not read, and the option that helps with pictures.
    pub(super) fn refused(&self, error: DataError) -> Failure {
        let differ = error.has(|problem| matches!(problem, Problem::PictureSize { .. }));
        let failure = Failure::from(error);
        match differ {
            true => failure.fix("scale all pictures to one size with `--size WIDTHxHEIGHT`"),
            false => failure,
        }
    }

    /// How a folder of them is read.
    pub(super) fn options(&self) -> PictureOptions {
        PictureOptions { size: self.size, channels: None }
    }

    /// How their bytes become numbers.
    pub(super) fn preparation(&self) -> Preparation {
        Preparation {
            divide: self.divide,
            mean: self.mean.clone(),
            deviation: self.deviation.clone(),
            grey_to_rgb: self.grey_to_rgb,
        }
    }
}

/// What is said of labels such as 0.0 and 1.0, if the model tells classes apart.
const READ_AS_NUMBERS: &str =
    "the labels are read as numbers; `--metric accuracy` reads them as classes";

/// What is said without `--label` and `--reference`.
const NOTHING_TO_COMPARE: &str = "no labels and no reference: only times and memory are measured; name the labels' column with `--label`";

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MetricName {
    Accuracy,
    Agreement,
    R2,
    Cosine,
}

fn backend(name: &str) -> Result<BackendKind, String> {
    BackendKind::named(name).ok_or_else(|| "give `onnxruntime` or `tract`".to_owned())
}

pub(super) fn pool(name: &str) -> Result<Pool, String> {
    Pool::named(name).ok_or_else(|| "give `mean` or `cls`".to_owned())
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let read = || {
        let (width, height) = text.split_once('x')?;
        let of = |side: &str| {
            side.parse().ok().filter(|side| (1..=data::PICTURE_SIDE_MAX).contains(side))
        };
        Some((of(width)?, of(height)?))
    };
    let max = data::PICTURE_SIDE_MAX;
    read().ok_or_else(|| format!("give pixels as `224x224`, at most {max} each"))
}

impl Evaluate {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        // Everything that can be refused is refused before the first row is computed.
        for path in self.profile.iter().chain(&self.plot) {
            self.force.check(path)?;
        }
        let model = Model::read(&self.model)?;
        let reference = self.reference.as_deref().map(Model::read).transpose()?;
        let (data, licence) = self.read_data(&model)?;
        let metric = self.metric(&data)?;
        if self.report.is_some() && metric.is_none() {
            let what = "the data have no labels, so there is no figure to compare with the report";
            return Err(Failure::new(what).fix("name their column with `--label`"));
        }
        let own = model.subject().sha256;
        let said = self.report.as_deref().map(|path| Said::read(path, &data, own)).transpose()?;
        // Without its folder: a report can become part of a bundle, and where the data lie is nobody's business.
        let name = self.data.file_name().unwrap_or(self.data.as_os_str()).to_string_lossy();
        let rows = Rows::of(name.into_owned(), &data, licence);
        let mut report = Report::new(model.subject(), rows, metric);
        report.reference = reference.as_ref().map(Model::subject);
        report.notes.extend(model.notes().iter().cloned());
        if metric.is_none() {
            report.notes.push(NOTHING_TO_COMPARE.to_owned());
        }
        let runtime = make_runtime().during(|| "cannot start threads".into())?;
        let answers =
            self.measure(context, &runtime, (&model, reference.as_ref(), &data), &mut report);
        runtime.shutdown_background();
        let answers = answers?;
        if let Some(said) = said.filter(|_| report.has_run()) {
            said.compare(&mut report)?;
        }
        if let (Some(path), Some(answers)) = (&self.profile, &answers) {
            let counted = profile(&data, answers).during(|| "no profile was written".into())?;
            self.force.write(path, &serde_json::to_vec(&counted)?)?;
            context.screen.note(&format!("wrote {}", path.display()));
        }
        if let Some(path) = &self.plot {
            self.force.write(path, show::plot(&report).as_bytes())?;
            context.screen.note(&format!("wrote {}", path.display()));
        }
        let (plain, json) = (show::plain(&report), serde_json::to_value(&report)?);
        Ok(if report.has_run() && !report.differs() {
            Answer::Text { plain, json }
        } else {
            Answer::Refused { plain, json }
        })
    }

    /// The rows, and their licence if a `croissant.json` beside them names one.
    fn read_data(&self, model: &Model) -> Result<(DataSet, Option<String>), Failure> {
        let text = [self.text.clone(), model.text_columns()].concat();
        let options = data::Options {
            label: self.label.clone(),
            labels: match self.metric {
                Some(MetricName::R2) => LabelKind::Numbers,
                Some(MetricName::Accuracy) => LabelKind::Classes,
                _ => LabelKind::Auto,
            },
            text,
            pictures: self.pictures.options(),
            ..data::Options::default()
        };
        let whole = data::read(&self.data, &options).map_err(|error| {
            let is_text = error.has(|problem| matches!(problem, Problem::NotNumber { .. }));
            match is_text {
                true => Failure::from(error).fix(
                    "correct the cells, leave those empty that are missing, or name a column of texts with `--text NAME`",
                ),
                false => self.pictures.refused(error),
            }
        })?;
        let described = Croissant::beside(&self.data)?;
        if let Some(described) = &described {
            described.check(&whole)?;
        }
        // Answers that `hospes convert` compares with, in the same file.
        let whole = whole.without(&[EXPECTED, EXPECTED_LABELS]);
        let data = match self.rows {
            Some(0) => {
                return Err(
                    Failure::new("`--rows 0` leaves nothing to measure").fix("give at least 1")
                );
            }
            Some(count) if count < whole.rows() => whole.select(&(0..count).collect::<Vec<_>>()),
            _ => whole,
        };
        Ok((data, described.and_then(|described| described.licence)))
    }

    fn metric(&self, data: &DataSet) -> Result<Option<Metric>, Failure> {
        let metric = match (self.metric, self.pool) {
            (None | Some(MetricName::Cosine), Some(pool)) => Some(Metric::Pooled(pool)),
            (Some(_), Some(_)) => {
                return Err(Failure::new("`--pool` makes vectors, which `cosine` compares")
                    .fix("measure `--metric cosine`, or leave `--pool` out"));
            }
            (Some(MetricName::Accuracy), _) => Some(Metric::Accuracy),
            (Some(MetricName::Agreement), _) => Some(Metric::Agreement),
            (Some(MetricName::R2), _) => Some(Metric::R2),
            (Some(MetricName::Cosine), _) => Some(Metric::Cosine),
            (None, _) if self.reference.is_some() => Some(Metric::Agreement),
            (None, _) => data.labels().map(|labels| match labels.classes() {
                Some(_) => Metric::Accuracy,
                None => Metric::R2,
            }),
        };
        let compares =
            matches!(metric, Some(Metric::Agreement | Metric::Cosine | Metric::Pooled(_)));
        match (metric, &self.reference) {
            (Some(metric), None) if compares => {
                Err(crate::evaluate::JudgeError::NoReference { metric }.into())
            }
            (Some(Metric::Accuracy), Some(_)) => {
                Err(Failure::new("`accuracy` compares with labels, not with `--reference`")
                    .fix("leave `--reference` out, or measure `agreement`"))
            }
            (Some(metric), None) if !compares && data.labels().is_none() => {
                Err(crate::evaluate::JudgeError::NoLabels { metric }.into())
            }
            _ => Ok(metric),
        }
    }

    /// Fills in the runs. Returns the answers of the first one that has some.
    fn measure(
        &self,
        context: &Context,
        runtime: &Runtime,
        (model, reference, data): (&Model, Option<&Model>, &DataSet),
        report: &mut Report,
    ) -> Result<Option<Answers>, Failure> {
        let settings = inference_settings(&super::serve::config(None, self.host_data.clone())?);
        let progress = context.screen.spinner("starting worker processes");
        runtime.block_on(async {
            let needs_workers = matches!(model, Model::File { .. }) || reference.is_some();
            let evaluator = match needs_workers {
                true => Some(Evaluator::start(settings).await?),
                false => None,
            };
            let compared = match (reference, &evaluator) {
                (Some(reference), Some(evaluator)) => {
                    Some(self.reference_answers(evaluator, reference, data, &progress).await?)
                }
                _ => None,
            };
            match (model, &evaluator) {
                (Model::File { bytes, .. }, Some(evaluator)) => {
                    let measured = self.on_backends(
                        evaluator,
                        (bytes, data),
                        &progress,
                        compared.as_ref(),
                        report,
                    );
                    measured.await
                }
                (Model::Published { name, reference }, _) => {
                    drop(progress);
                    let calls =
                        published::Calls { context, agreement: self.agreement, is_told: self.yes };
                    let (mut run, answers) = calls.run(
                        name,
                        reference.as_deref(),
                        data,
                        &self.pictures.preparation(),
                        &mut report.notes,
                    )?;
                    run.figures = self.judge(&answers, data, compared.as_ref(), report)?;
                    report.runs.push(run);
                    Ok(Some(answers))
                }
                (Model::File { .. }, None) => Ok(None),
            }
        })
    }

    /// The figures of answers. What a model answers decides what is measured, unless `--metric` says it.
    fn judge(
        &self,
        answers: &Answers,
        data: &DataSet,
        compared: Option<&Answers>,
        report: &mut Report,
    ) -> Result<Option<Figures>, Failure> {
        let Some(metric) = report.metric else { return Ok(None) };
        let (output, labels) = (self.output.as_deref(), data.labels());
        let fitting = match self.metric {
            Some(_) => metric,
            None => metric.fitting(answers, output, labels)?,
        };
        if fitting != metric {
            report.metric = Some(fitting);
            report.notes.push(format!(
                "the model answers one number a row, so `{}` is measured; if it is a score between two classes, name `--metric {}`",
                fitting.name(),
                metric.name()
            ));
        }
        let are_numbers = self.metric.is_none()
            && fitting == Metric::R2
            && matches!(labels, Some(Labels::Numbers(numbers)) if numbers.iter().all(|number| number.fract() == 0.0))
            && !answers.is_single_number(output)?;
        if are_numbers && !report.notes.iter().any(|note| note == READ_AS_NUMBERS) {
            report.notes.push(READ_AS_NUMBERS.to_owned());
        }
        match judge(fitting, answers, output, labels, compared) {
            Err(error) if are_numbers => Err(Failure::from(error).fix(READ_AS_NUMBERS)),
            judged => Ok(Some(judged?)),
        }
    }

    /// The backends to measure on.
    fn backends(&self, evaluator: &Evaluator, report: &mut Report) -> Vec<BackendKind> {
        let mut usable = Vec::new();
        for (kind, state) in evaluator.backends() {
            match state {
                _ if self.backend.is_some_and(|wanted| wanted != *kind) => {}
                Ok(_) => usable.push(*kind),
                Err(reason) => report.runs.push(Run::failed(kind.name(), reason)),
            }
        }
        usable
    }

    async fn reference_answers(
        &self,
        evaluator: &Evaluator,
        reference: &Model,
        data: &DataSet,
        progress: &Progress,
    ) -> Result<Answers, Failure> {
        let Model::File { bytes, .. } = reference else {
            return Err(Failure::new("`--reference` is a published function")
                .fix("give an ONNX file or a bundle"));
        };
        progress.step("computing the reference");
        // Of several backends the first that takes it: a reference has one set of answers.
        let wanted = self.backend.map_or_else(|| evaluator.usable(), |backend| vec![backend]);
        let loaded = load_on_first(evaluator, ("reference", bytes), &wanted).await?;
        let feed = self.feed(&loaded, data);
        let feed = feed.during(|| "the data do not fit the reference".into())?;
        Ok(loaded.answers(&feed, |_| {}).await?)
    }

    fn feed<'d>(&self, model: &Loaded, data: &'d DataSet) -> Result<Feed<'d>, FeedError> {
        let stated = self.pictures.preparation();
        match model.feed(data, &stated) {
            // Of two models, one may take fractions and the other the bytes.
            Err(FeedError::Bytes { .. }) if self.reference.is_some() => {
                let grey_to_rgb = stated.grey_to_rgb;
                model.feed(data, &Preparation { grey_to_rgb, ..Preparation::default() })
            }
            fed => fed,
        }
    }

    async fn on_backends(
        &self,
        evaluator: &Evaluator,
        (bytes, data): (&bytes::Bytes, &DataSet),
        progress: &Progress,
        compared: Option<&Answers>,
        report: &mut Report,
    ) -> Result<Option<Answers>, Failure> {
        let mut loaded: Vec<Loaded> = Vec::new();
        for backend in self.backends(evaluator, report) {
            progress.step(&format!("loading on {backend}"));
            match evaluator.load(bytes.clone(), backend).await {
                Ok(model) => loaded.push(model),
                Err(error) => {
                    report.runs.push(Run::failed(backend.name(), Failure::from(error).in_a_line()));
                }
            }
        }
        let mut first = None;
        let mut computed = Vec::new();
        for model in &loaded {
            let backend = model.backend();
            let feed = self.feed(model, data);
            let feed = feed.during(|| "the data do not fit the model".into())?;
            progress.step(&format!("computing {} rows on {backend}", data.rows()));
            let answers = match model.answers(&feed, |_| {}).await {
                Ok(answers) => answers,
                Err(error) => {
                    let error = Failure::from(error).in_a_line();
                    report.runs.push(Run::failed(backend.name(), error));
                    continue;
                }
            };
            let figures = self.judge(&answers, data, compared, report)?;
            computed.push((model, feed, figures));
            first.get_or_insert(answers);
        }
        // It is the same on each backend.
        report.notes.extend(computed.first().and_then(|(_, feed, _)| feed.note()));
        progress.step("timing single rows");
        let pairs: Vec<(&Loaded, &Feed<'_>)> =
            computed.iter().map(|(model, feed, _)| (*model, feed)).collect();
        let timings = interleaved(&pairs, RUNS).await?;
        for ((model, _, figures), latency) in computed.iter().zip(timings) {
            report.runs.push(Run {
                place: model.backend().name().to_owned(),
                error: None,
                figures: figures.clone(),
                latency,
                memory_bytes: model.memory_bytes(),
                load_ms: Some(model.load_time().as_secs_f64() * 1e3),
            });
        }
        Ok(first)
    }
}
