//! `hospes publish`: publishes a signed bundle on a host.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::Context;
use super::bulk;
use super::client::{Client, Payload, Post};
use super::failure::Failure;
use super::inspect;
use super::screen::{Answer, Screen, printable};
use hospes_core::id::FunctionName;
use hospes_wire::models::{Published, Tried};

/// Publish signed bundles on a host.
///
/// The host verifies the signature and every digest, compiles the code, loads the models and runs the guest once. Then the version
/// is live. A published version never changes: publish a new one instead. Until there is an agreement, only you can call it.
///
/// All bundles are tried, and each prints a line. Exit code 1 if one was refused.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes sign iris.wasm --as acme && hospes publish iris.wasm --as acme\n  \
    hospes publish *.wasm --as acme"
)]
pub struct Publish {
    /// The signed bundles.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// How the host computed one of the bundle's models.
fn line(tried: &Tried) -> String {
    let Tried { name, backend, .. } = tried;
    let joined = joined(tried).map_or_else(String::new, |joined| format!("; {joined}"));
    match (tried.computed_ms, &tried.not_computed) {
        (Some(millis), _) => {
            format!(
                "  model     {name}: {millis} ms by {backend}, with its smallest inputs{joined}\n"
            )
        }
        (None, reason) => {
            let reason = reason.as_deref().unwrap_or("no reason was given");
            format!(
                "  model     {name}: not tested, because {backend} refused made-up inputs ({reason}): call it once yourself\n"
            )
        }
    }
}

/// Whether computations of several calls are joined. `None` if the bundle declares no axis for that.
fn joined(tried: &Tried) -> Option<String> {
    match (tried.batch_gain, &tried.not_joined) {
        (Some(gain), _) if tried.joined => {
            Some(format!("calls that wait are computed in batches, which are {gain} times as fast"))
        }
        (Some(gain), _) => Some(format!("no batches, which would be only {gain} times as fast")),
        (None, Some(why)) => Some(format!("no batches: {why}")),
        (None, None) => None,
    }
}

impl Publish {
    pub(crate) fn run(self, context: &Context) -> Result<Answer, Failure> {
        let client = context.client()?;
        let [file] = self.files.as_slice() else {
            return Ok(bulk::each(&self.files, |file| {
                let (json, published) = send(&client, file, Some(context.screen))?;
                let Published { model, version, digest, .. } = published;
                Ok((format!("live: {model} {version}, bundle {digest}"), json))
            }));
        };
        let (json, published) = send(&client, file, Some(context.screen))?;
        let Published { model, version, digest, functions, models } = published;
        let models: String = models.iter().map(line).collect();
        let plain = format!(
            "live: {model} {version}\n  functions {}\n  bundle    {digest}\n{models}next: hospes offer new {model} --bundle {} --function {}",
            functions.iter().map(FunctionName::as_str).collect::<Vec<_>>().join(", "),
            file.display(),
            functions.first().map_or("FUNCTION", FunctionName::as_str)
        );
        Ok(Answer::new(printable(&plain), json))
    }
}

/// Sends a signed bundle, and shows progress if there is a screen.
///
/// # Errors
/// If it is not a signed bundle, or the host refuses it or published a different one.
pub fn send(
    client: &Client,
    file: &Path,
    screen: Option<Screen>,
) -> Result<(Value, Published), Failure> {
    let digest = *inspect::read_signed(file)?.digest();
    let failed = |error| Failure::file("read", file, &error);
    let opened = File::open(file).map_err(failed)?;
    let length = opened.metadata().map_err(failed)?.len();
    let what = format!("publishing {}", file.display());
    let progress = screen.map(|screen| screen.bytes_bar(&what, length));
    let mut reader: Box<dyn Read> = match &progress {
        Some(progress) => Box::new(progress.reader(opened)),
        None => Box::new(opened),
    };
    let post = Post {
        content_type: "application/wasm",
        headers: Vec::new(),
        body: Payload::Reader(&mut *reader, length),
    };
    let reply = client.post("/api/bundles", post)?;
    drop(progress);
    let (json, published): (_, Published) = reply.document()?;
    if published.digest != digest {
        return Err(Failure::new(format!(
            "the host published bundle `{}`, but `{digest}` was sent",
            published.digest
        )));
    }
    Ok((json, published))
}
