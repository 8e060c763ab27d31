//! `--report`: whether the figures are those that another report has of the same rows, such as a training's.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::bundle::{self, Evaluation, REPORT_BYTES_MAX, Reported as Found};
use crate::data::DataSet;
use crate::evaluate::{FIGURE_TOLERANCE, Metric, Report, Reported};
use crate::id::Digest;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::screen;

/// What a report says of the rows that are evaluated.
pub(super) struct Said {
    name: String,
    found: Found,
    /// That it is about another model, if so.
    other: Option<String>,
}

impl Said {
    /// Reads a report of `hospes train` or `hospes evaluate --json`.
    pub(super) fn read(
        path: &Path,
        data: &DataSet,
        model: Option<Digest>,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::file("read", path, &error);
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(failed)?;
        // One byte more shows that it is too large.
        file.take(REPORT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        // Without its folder, as the data's name.
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let mut found =
            bundle::evaluations(&bytes).during(|| format!("`{name}` has no figures"))?;
        let other = other(&name, &found, model);
        let digest = data.digest();
        let mut others: Vec<String> =
            found.evaluations.iter().map(|one| format!("`{}`", one.data)).collect();
        found.evaluations.retain(|one| one.data_sha256 == Some(digest));
        if found.evaluations.is_empty() {
            let what = format!("`{name}` has no figures of these rows ({digest})");
            others.dedup();
            let fix = format!("give the data set that it has figures of: {}", others.join(", "));
            return Err(about(other, Failure::new(what).fix(fix)));
        }
        Ok(Self { name, found, other })
    }

    /// Adds the comparison to a report whose runs are complete.
    pub(super) fn compare(self, report: &mut Report) -> Result<(), Failure> {
        let Self { name, found, other } = self;
        let Some(metric) = report.metric.map(Metric::name) else { return Ok(()) };
        // Where the places of the report found other figures, each has its own.
        let said = |place: &str| {
            let of_place = format!("{metric} ({place})");
            let is_it = |one: &&Evaluation| one.metric == metric || one.metric == of_place;
            found.evaluations.iter().find(is_it).map(|one| one.value.get())
        };
        let (mut value, mut differs, mut silent) = (None, Vec::new(), Vec::new());
        for run in &report.runs {
            let Some(figures) = &run.figures else { continue };
            match said(&run.place) {
                None => silent.push(run.place.clone()),
                Some(said) if (figures.value() - said).abs() > FIGURE_TOLERANCE => {
                    if differs.is_empty() {
                        value = Some(said);
                    }
                    differs.push(run.place.clone());
                }
                Some(said) => value = value.or(Some(said)),
            }
        }
        let Some(value) = value else {
            let has: Vec<String> =
                found.evaluations.iter().map(|one| format!("`{}`", one.metric)).collect();
            let what = format!("`{name}` does not say `{metric}` of these rows");
            let has = has.join(", ");
            let fix = format!("measure what it says with `--metric` or `--backend`: it has {has}");
            return Err(about(other, Failure::new(what).fix(fix)));
        };
        if !silent.is_empty() {
            let places = silent.join(", ");
            report.notes.push(format!("{name} does not say `{metric}` of {places}"));
        }
        if let Some(other) = other {
            // It may explain what follows.
            report.notes.insert(0, other);
        }
        report.reported = Some(Reported { name, value, tolerance: FIGURE_TOLERANCE, differs });
        Ok(())
    }
}

/// That a report is about another model than this one, with the path that it has recorded.
fn other(report: &str, found: &Found, model: Option<Digest>) -> Option<String> {
    let about = found.model.filter(|about| model.is_some_and(|own| own != *about))?;
    let named = found.model_name.as_deref().map(|path| format!("`{}`, ", screen::name(path)));
    Some(format!("{report} is about another model: {}{about}", named.unwrap_or_default()))
}

/// A failure whose first line says that the report is about another model, if it is.
fn about(other: Option<String>, failure: Failure) -> Failure {
    match other {
        Some(other) => failure.during(other),
        None => failure,
    }
}
