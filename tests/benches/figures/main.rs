//! Figures: how a host does beside the same thing without one. `make bench` runs it.
//!
//! What is compared is measured in turns in the same run, so that a machine that is busy with other things slows down both. A figure is
//! the median of its rounds. Ratios are ours over the baseline's requests, or the baseline's time over ours: higher is better.

mod cores;
mod entry;
mod http;
mod inside;
mod lookup;
mod oip;
mod report;
mod servers;

use std::io::Write as _;
use std::time::Duration;

use report::Figure;

// As in the `hospes` binary; the baselines have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each figure.
const ROUNDS: usize = 11;

/// Time that one side of a figure has in one round.
const ROUND: Duration = Duration::from_secs(1);

/// Threads that a server serves with, ours and the baseline's. One is left for the client on a machine with two cores.
const SERVER_THREADS: usize = 1;

/// Connections that the client keeps busy.
const CONNECTIONS: usize = 32;

/// Measures one figure, in all its rounds.
type Measure = fn() -> Figure;

/// Every figure, by its name. Names are stable: results of different days are compared by them.
const FIGURES: [(&str, Measure); 16] = [
    ("instantiate", inside::instantiate),
    ("bytes_1mib", inside::bytes_1mib),
    ("noop_http", http::noop),
    ("typed_json_noop", http::typed),
    ("typed_json_42", http::typed_of_many),
    ("wasi_http", http::handler),
    ("lenet_http", http::lenet),
    ("oip_600k", oip::efficientnet),
    ("perf_analyzer_http", || oip::perf_analyzer("http")),
    ("perf_analyzer_grpc", || oip::perf_analyzer("grpc")),
    ("agreement_check", || inside::agreement_check(1)),
    ("agreement_check_64", || inside::agreement_check(64)),
    ("agreement_lookup_100k", lookup::of_100_000),
    ("agreement_entry_100k", entry::among_100_000),
    ("agreement_memory_100k", entry::memory_of_100_000),
    ("receipt_append", inside::receipt_append),
];

/// Measures the figures that are named, or all; only all are kept.
fn main() -> std::io::Result<()> {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let cores = if cores::set_apart() { "a core each" } else { "any core" };
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{ROUNDS} rounds of {} s a side, medians; servers with {SERVER_THREADS} thread(s), {CONNECTIONS} connections, {cores}",
        ROUND.as_secs()
    )?;
    writeln!(out, "{}", report::heading())?;
    let mut measured = Vec::new();
    for (name, measure) in FIGURES.into_iter().filter(|(name, _)| is_wanted(name)) {
        let figure = measure();
        writeln!(out, "{}", report::row(name, &figure))?;
        out.flush()?;
        measured.push((name, figure));
    }
    if wanted.is_empty() {
        let path = report::keep(&measured)?;
        writeln!(out, "written to {}", path.display())?;
    }
    Ok(())
}
