//! The report for people: a table of backends, the classes, and a chart.

use std::fmt::Write as _;

use crate::config::about_bytes;
use crate::evaluate::{Figures, Report, Reported, Run};
use crate::evidence::chart::{self, Mark};
use hospes_cli::screen::table;

/// Maximum classes that are listed. The report has all of them.
const CLASSES_SHOWN_MAX: usize = 30;

pub(super) fn plain(report: &Report) -> String {
    let mut text =
        format!("{} on {} rows of {}\n", report.model.name, report.data.rows, report.data.name);
    if let Some(reference) = &report.reference {
        let _ = writeln!(text, "compared with {}", reference.name);
    }
    text.push('\n');
    let name = report.metric.map_or("METRIC".into(), |metric| metric.name().to_uppercase());
    let heading = ["BACKEND", &name, "95 % INTERVAL", "P50 MS", "P95 MS", "MEMORY"];
    let rows: Vec<Vec<String>> =
        report.runs.iter().filter(|run| run.error.is_none()).map(row).collect();
    text += &table(&heading, &rows);
    for run in &report.runs {
        if let Some(error) = &run.error {
            let _ = writeln!(text, "{}: {error}", run.place);
        }
    }
    if let Some(figures) = report.runs.iter().find_map(|run| run.figures.as_ref()) {
        text += &details(figures);
    }
    // One of them may say why the figures differ.
    for note in &report.notes {
        let _ = writeln!(text, "note: {note}");
    }
    if let Some(Reported { name, value, differs, .. }) = &report.reported {
        let _ = match differs.as_slice() {
            [] => writeln!(text, "{name} says {value:.4}: the same"),
            places => writeln!(text, "{name} says {value:.4}: DIFFERENT on {}", places.join(", ")),
        };
    }
    text
}

fn row(run: &Run) -> Vec<String> {
    let dash = || "-".to_owned();
    let value = run.figures.as_ref().map_or_else(dash, |figures| format!("{:.4}", figures.value()));
    let interval = run.figures.as_ref().and_then(Figures::interval);
    let interval = interval.map_or_else(dash, |it| format!("{:.4} to {:.4}", it.low, it.high));
    let time = |of: fn(&crate::evaluate::Timing) -> f64| {
        run.latency.as_ref().map_or_else(dash, |timing| format!("{:.3}", of(timing)))
    };
    let memory = run.memory_bytes.map_or_else(dash, about_bytes);
    vec![run.place.clone(), value, interval, time(|t| t.p50_ms), time(|t| t.p95_ms), memory]
}

fn details(figures: &Figures) -> String {
    let mut text = String::from("\n");
    match figures {
        Figures::Accuracy(accuracy) => {
            let share =
                |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.4}"));
            let mut rows: Vec<Vec<String>> = Vec::new();
            for class in accuracy.classes.iter().take(CLASSES_SHOWN_MAX) {
                let interval = class.recall_interval;
                rows.push(vec![
                    hospes_cli::screen::printable(&class.name),
                    class.rows.to_string(),
                    share(class.recall),
                    format!("{:.4} to {:.4}", interval.low, interval.high),
                    share(class.precision),
                    share(class.f1),
                ]);
            }
            text += &table(&["CLASS", "ROWS", "RECALL", "95 % INTERVAL", "PRECISION", "F1"], &rows);
            let more = accuracy.classes.len().saturating_sub(CLASSES_SHOWN_MAX);
            if more > 0 {
                let _ = writeln!(text, "and {more} more classes: see `--json`");
            }
            let _ = writeln!(
                text,
                "{} of {} rows right; mean recall of the classes {:.4}",
                accuracy.hits, accuracy.rows, accuracy.balanced
            );
        }
        Figures::R2(r2) => {
            let (mean, root) = (r2.mean_absolute_error, r2.root_mean_square_error);
            let _ =
                writeln!(text, "mean absolute error {mean:.4}; root mean square error {root:.4}");
        }
        Figures::Agreement(agreement) => {
            let _ = writeln!(text, "{} of {} rows the same class", agreement.same, agreement.rows);
        }
        Figures::Cosine(cosine) => {
            let _ = writeln!(
                text,
                "lowest {:.4}; one row of a hundred below {:.4}",
                cosine.lowest, cosine.p01
            );
        }
    }
    text
}

/// The confusion matrix if there is one, otherwise value and time of each backend.
pub(super) fn plot(report: &Report) -> String {
    let figures = report.runs.iter().find_map(|run| run.figures.as_ref());
    if let Some(Figures::Accuracy(accuracy)) = figures {
        let title = format!("{}: accuracy {:.4}", report.model.name, accuracy.value);
        return chart::confusion(&title, &accuracy.confusion);
    }
    let marks = report.runs.iter().filter_map(|run| {
        let (x, y) =
            (run.latency.as_ref()?.p50_ms, run.figures.as_ref().map_or(0.0, Figures::value));
        Some(Mark { name: run.place.clone(), x, y, filled: true })
    });
    let marks: Vec<Mark> = marks.collect();
    let metric = report.metric.map_or("nothing compared", |metric| metric.name());
    chart::scatter(&report.model.name, "p50, ms", metric, &marks)
}
