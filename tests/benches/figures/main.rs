//! Benchmarks: the host compared with the same work without a host. `make bench` runs them.
//!
//! Both sides of a figure are measured alternately in the same run, so that other load on the
//! machine slows both. A figure is the median of its rounds. A ratio is our requests per second
//! over the baseline's, or the baseline's time over ours: higher is better.

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

// As in the `hospes` binary; the baselines use it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds of each figure.
const ROUNDS: usize = 11;

/// Time per side and round.
const ROUND: Duration = Duration::from_secs(1);

/// Server threads, ours and the baseline's. On a machine with two cores, this leaves one for the
/// client.
const SERVER_THREADS: usize = 1;

/// Connections that the client keeps busy.
const CONNECTIONS: usize = 32;

/// Measures one figure in all its rounds.
type Measure = fn() -> Figure;

/// All figures, by name. The names are stable, so that results of different days can be compared.
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

/// Measures the named figures, or all. Results are saved only if all are measured.
fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().is_some_and(|first| first == entry::OPEN_ONLY) {
        let folder = arguments.next().expect("a folder");
        return writeln!(std::io::stdout(), "{}", entry::open_only(folder.as_ref()));
    }
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
