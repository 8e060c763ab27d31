//! `hospes dev`: serves a model or a plugin, and republishes it when its files change.
//!
//! One process: the host serves on the runtime, and another thread acts over HTTP as publisher and consumer. Everything is in a
//! temporary directory, which is removed when the command ends.

mod desk;
mod example;
mod source;
mod watch;

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::oneshot;

use super::MakeRuntime;
use super::serve;
use crate::bundle::Registry;
use crate::config::{Config, ListenAddress};
use crate::host::Host;
use crate::id::ModelLabel;
use crate::inference::backend::BackendError;
use crate::telemetry;
use desk::Desk;
use example::{Call, Live};
use hospes_cli::Context;
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::home::Home;
use hospes_cli::screen::{Answer, Screen, printable};
use source::Source;
use watch::{FILES_MAX, Look};

/// How often the files are checked. A change is published when two checks in a row agree.
const POLL: Duration = Duration::from_millis(300);

/// How long calls may run on when the command stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Most characters of a response to show.
const ANSWER_CHARS_MAX: usize = 160;

/// How long a component may compile. A plugin in Python takes minutes on a slow machine, and nobody else waits.
const COMPILE_TIMEOUT: Duration = Duration::from_mins(10);

/// The folder in a data directory where `hospes runtime install` puts libraries.
const RUNTIME: &str = "runtime";

/// Try a model or a plugin on a temporary host, republished when its files change.
///
/// Starts a host on a free loopback port, with everything in a temporary directory. Makes keys and accounts for a publisher and a
/// consumer. Packs, signs and publishes the model or the plugin's directory, and signs an agreement for both sides. Prints a `curl`
/// command to paste and the address of a page to try the model. Then it watches the files and publishes a new version when they
/// change. If that fails, it says why, and the earlier version keeps serving. It does not compile a plugin's source: run the
/// plugin's toolchain, as for `hospes build`, and the result is published. Ctrl-C, or closing the terminal, stops the host and
/// removes the directory. With `--json` each event is one line of JSON.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes dev iris.onnx\n  hospes dev plugins/filetype --listen 127.0.0.1:8080"
)]
pub struct Dev {
    /// An ONNX model, or a plugin's directory, with a `hospes.toml`.
    path: PathBuf,
    /// The model's name [default: the file's; a plugin's is in its `hospes.toml`].
    #[arg(long)]
    name: Option<ModelLabel>,
    /// The host's address [default: a free port of 127.0.0.1].
    #[arg(long, value_name = "ADDR")]
    listen: Option<ListenAddress>,
    /// The data directory whose ONNX Runtime to use, if it is not installed elsewhere [default: hospes-data].
    #[arg(long, value_name = "DIR", env = "HOSPES_DATA", hide_env_values = true)]
    data: Option<PathBuf>,
}

/// A message to the publishing thread.
enum Told {
    Ready(Ready),
    Stop,
}

/// A host that takes calls.
struct Ready {
    public: String,
    operator: String,
    /// The backends, each with a description or the reason why it is not usable.
    backends: Vec<(String, Result<String, String>)>,
    /// The host's bundles.
    registry: Registry,
}

impl Dev {
    pub fn run(self, context: &Context, make_runtime: MakeRuntime) -> Result<Answer, Failure> {
        let source = Source::new(&self.path, self.name)?;
        let folder = tempfile::Builder::new()
            .prefix("hospes-dev-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .during(|| "cannot make a temporary directory".into())?;
        let config = config(folder.path(), self.listen, self.data)?;
        telemetry::start(&config.telemetry)?;
        let runtime = make_runtime().during(|| "cannot start threads".into())?;
        let served = run(config, context, &source, &folder, runtime);
        let removed = folder.close().during(|| "cannot remove the temporary directory".into());
        served.and(removed).map(|()| Answer::Nothing)
    }
}

/// The settings of a temporary host in a folder.
fn config(
    folder: &Path,
    listen: Option<ListenAddress>,
    data: Option<PathBuf>,
) -> Result<Config, Failure> {
    let mut config = serve::config(None, data)?;
    let installed = std::path::absolute(config.data.dir.join(RUNTIME))?;
    config.data.dir = folder.join("data");
    std::fs::create_dir(&config.data.dir)?;
    if installed.is_dir() {
        // Search the same places in the same order as a host on that directory.
        symlink(installed, config.data.dir.join(RUNTIME))?;
    }
    config.api.listen = match listen {
        Some(address) => address,
        None => "127.0.0.1:0".parse()?,
    };
    config.api.operator_listen = "127.0.0.1:0".parse()?;
    config.api.drain_delay = Duration::ZERO;
    config.api.drain_timeout = DRAIN_TIMEOUT;
    // A replaced version still counts, but takes no room.
    config.bundle.bytes_per_publisher_max = u64::MAX;
    config.sandbox.compile_timeout = COMPILE_TIMEOUT;
    // The terminal is for events, failures and plugins' output. The first event lists the usable backends.
    config.telemetry.filter = "warn,hospes_inference=error,hospes::guest=info".into();
    Ok(config)
}

/// Serves, with a thread that publishes, until either ends.
fn run(
    config: Config,
    context: &Context,
    source: &Source,
    folder: &TempDir,
    runtime: Runtime,
) -> Result<(), Failure> {
    let mut hangup = {
        let _runtime = runtime.enter();
        // Closing the terminal must remove the directory too.
        unix::signal(SignalKind::hangup()).during(|| "cannot wait for signals".into())?
    };
    let (tell, told) = mpsc::channel();
    let (end, ended) = oneshot::channel::<()>();
    thread::scope(|scope| {
        let session = scope.spawn(move || {
            let session = session(context, source, folder.path(), &told);
            drop(end);
            session
        });
        let ready = tell.clone();
        let listens = move |host: Arc<Host>, addresses| {
            tokio::spawn(async move {
                host.ready().await;
                let _ = ready.send(Told::Ready(Ready::of(&host, addresses)));
            });
        };
        let ended = async move {
            tokio::select! {
                _ = ended => {}
                _ = hangup.recv() => {}
            }
        };
        let served = runtime.block_on(serve::serve(config, context, listens, ended));
        let _ = tell.send(Told::Stop);
        // This aborts whatever the thread waits for.
        runtime.shutdown_background();
        match session.join() {
            Ok(session) => served.and(session),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Ready {
    fn of(host: &Host, [public, operator]: [String; 2]) -> Self {
        let backends = host.inference().backends().iter().map(|status| {
            let usable = status.usable.as_ref().map(ToString::to_string);
            (status.kind.to_string(), usable.map_err(unusable))
        });
        Self { public, operator, backends: backends.collect(), registry: host.registry.clone() }
    }

    /// The usable backends, in one line.
    fn computes(&self) -> String {
        let usable =
            self.backends.iter().find_map(|(name, usable)| Some((name, usable.as_ref().ok()?)));
        let computes = match usable {
            Some((name, detail)) => format!("models are computed by {name} ({detail})"),
            None => "nothing computes models".to_owned(),
        };
        let unusable = self.backends.iter().filter_map(|(name, usable)| {
            Some(format!("; not by {name}: {}", usable.as_ref().err()?))
        });
        unusable.fold(computes, |text, more| text + &more)
    }
}

/// Why a backend is not usable, and what to do about it here.
fn unusable(error: &BackendError) -> String {
    match error {
        BackendError::NoLibrary => {
            format!("{error}, and `--data DIR` names a data directory that has one")
        }
        other => other.to_string(),
    }
}

/// Publishes the files, and again after each change, until told to stop.
fn session(
    context: &Context,
    source: &Source,
    folder: &Path,
    told: &Receiver<Told>,
) -> Result<(), Failure> {
    let Ok(Told::Ready(ready)) = told.recv() else { return Ok(()) };
    let say = Say { screen: context.screen };
    let home = Home::at(Some(folder.join("home")));
    let mut desk = Desk::open(&ready, &home, folder, &context.clock)?;
    say.ready(&ready, folder);
    let mut shown = None;
    let mut published = source.look();
    say.watching(&published);
    publish(&mut desk, source, say, &mut shown);
    let mut moving = None;
    loop {
        match told.recv_timeout(POLL) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        let now = source.look();
        if now == published {
            moving = None;
        } else if moving.as_ref() == Some(&now) {
            say.changed(&now.changes(&published));
            published = now;
            moving = None;
            publish(&mut desk, source, say, &mut shown);
        } else {
            // The files may still be changing.
            moving = Some(now);
        }
    }
}

/// Publishes the files as they are. If that fails, says why; the next change may fix it.
fn publish(desk: &mut Desk, source: &Source, say: Say, shown: &mut Option<Vec<String>>) {
    let started = Instant::now();
    let progress = say.screen.spinner("compiling and loading; a large plugin may take minutes");
    let published = desk.publish(source);
    drop(progress);
    match published {
        Ok(live) => {
            let commands: Vec<String> =
                live.calls.iter().map(|call| call.command.clone()).collect();
            let is_new = shown.as_ref() != Some(&commands);
            say.published(&live, started.elapsed(), is_new);
            *shown = Some(commands);
        }
        Err(failure) => say.not_published(&failure),
    }
}

/// Prints events.
#[derive(Clone, Copy)]
struct Say {
    screen: Screen,
}

impl Say {
    fn event(self, plain: &str, json: Value) {
        // If stdout is closed, there is nobody to tell.
        let _ = self.screen.answer(&Answer::new(printable(plain), json));
    }

    fn ready(self, ready: &Ready, folder: &Path) {
        let backends = ready.backends.iter().map(|(name, usable)| match usable {
            Ok(detail) => json!({"name": name, "usable": true, "detail": detail}),
            Err(reason) => json!({"name": name, "usable": false, "reason": reason}),
        });
        let json = json!({
            "event": "ready",
            "address": ready.public,
            "operator_address": ready.operator,
            "directory": folder.display().to_string(),
            "backends": backends.collect::<Vec<_>>(),
        });
        let plain =
            format!("host at {}, in {}\n{}", ready.public, folder.display(), ready.computes());
        self.event(&plain, json);
    }

    fn watching(self, look: &Look) {
        let cut = if look.is_cut {
            format!(", and no more: {FILES_MAX} is the limit")
        } else {
            String::new()
        };
        let files = match look.files() {
            1 => "1 file".to_owned(),
            many => format!("{many} files"),
        };
        let plain = format!("watching {files}{cut}; Ctrl-C ends it and removes the directory");
        self.event(
            &plain,
            json!({"event": "watching", "files": look.files(), "more": look.is_cut}),
        );
    }

    fn changed(self, files: &[PathBuf]) {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        let first = &files[..files.len().min(3)];
        let more = match files.len() - first.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let plain = format!("changed: {}{more}", first.join(", "));
        self.event(&plain, json!({"event": "changed", "files": files}));
    }

    fn published(self, live: &Live, took: Duration, is_new: bool) {
        let Live { model, version, page, calls, models } = live;
        let mut plain = format!("live: {model} {version} in {:.2} s", took.as_secs_f64());
        for model in models {
            plain += &format!("; model `{}` by {}", model.name, model.backend);
        }
        if is_new {
            plain += &shown(live);
        }
        let calls: Vec<_> = calls.iter().map(Call::json).collect();
        let models =
            models.iter().map(|model| json!({"name": model.name, "backend": model.backend}));
        let json = json!({
            "event": "published",
            "model": model,
            "version": version,
            "page": page,
            "calls": calls,
            "models": models.collect::<Vec<_>>(),
            "seconds": took.as_secs_f64(),
        });
        self.event(&plain, json);
    }

    fn not_published(self, failure: &Failure) {
        let mut json = failure.to_json();
        json["event"] = json!("not-published");
        let plain = format!("not published: {}; waiting for a change", failure.in_a_line());
        self.event(&plain.replace('\n', " "), json);
    }
}

/// How to call the live version: the first function that accepted its made-up input, or else the first.
fn shown(live: &Live) -> String {
    let answered = live.calls.iter().find(|call| matches!(call.tried, Some(Ok(_))));
    let Some(call) = answered.or(live.calls.first()) else {
        return format!("\ntry it: {}", live.page);
    };
    let mut text = format!("\ncall it from another terminal:\n\n{}\n\n", call.command);
    text += &match &call.tried {
        Some(Ok(answer)) => format!("it answers: {}\n", cut(answer)),
        Some(Err(refused)) => {
            format!("the made-up input was refused ({}): replace it with your own\n", cut(refused))
        }
        None => String::new(),
    };
    let others: Vec<&str> = live
        .calls
        .iter()
        .map(|other| other.function.as_str())
        .filter(|function| *function != call.function)
        .take(10)
        .collect();
    if !others.is_empty() {
        text += &format!("other functions: {}\n", others.join(", "));
    }
    text + &format!("try it: {}", live.page)
}

/// The start of a text in one line, with `…` if there is more.
fn cut(text: &str) -> String {
    let mut start: String = text.chars().take(ANSWER_CHARS_MAX).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start.replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_cut_says_so() {
        assert_eq!(cut("{\n}"), "{ }");
        let whole = "é".repeat(ANSWER_CHARS_MAX);
        assert_eq!(cut(&whole), whole);
        assert_eq!(cut(&format!("{whole}x")), format!("{whole}…"));
    }
}
