//! `hospes offer`: the terms on which a model may be used, made, published and read.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args, Subcommand};
use serde::Deserialize;
use serde_json::json;

use super::Context;
use super::client::{Client, Payload, Post};
use super::document::{self, Reference};
use super::failure::{During as _, Failure};
use super::inspect;
use super::quantities::{self, Moment};
use super::screen::Answer;
use crate::agreement::{self, PermissionSpec, SignedOffer, render_offer};
use crate::id::{Digest, FunctionName, ModelName};

/// Make, publish and read offers.
///
/// An offer names one bundle, its functions and the terms of their use, and is signed by the publisher. It grants nothing by
/// itself: a consumer accepts it with `hospes agree`, and the publisher countersigns.
#[derive(Debug, Args)]
pub struct Offer {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    New(New),
    Publish(Publish),
    Show(Show),
}

/// Make and sign an offer.
///
/// All functions named share the terms; what is not limited is unlimited. Times are UTC.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("offered").required(true).args(["bundle", "digest"]))]
#[command(
    after_long_help = "Example:\n  hospes offer new acme/iris --bundle iris.wasm --function infer \\\n      \
    --calls 100 --until 30d --input-bytes 64KiB --as acme -o iris.offer"
)]
struct New {
    /// The model, `publisher/model`.
    model: ModelName,
    /// The signed bundle that is offered.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The digest of the bundle, where the file is not at hand.
    #[arg(long, value_name = "sha256:…")]
    digest: Option<Digest>,
    /// A function that may be called; say it once for each.
    #[arg(long = "function", value_name = "FUNCTION", required = true)]
    functions: Vec<FunctionName>,
    #[command(flatten)]
    terms: Terms,
    /// Where the offer goes [default: MODEL.offer].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Terms {
    /// Most calls of each function.
    #[arg(long, value_name = "N")]
    calls: Option<u64>,
    /// When calls may begin: a date, a moment, or a span from now.
    #[arg(long, value_name = "TIME", value_parser = quantities::moment)]
    from: Option<Moment>,
    /// When no call may begin any more: a date such as 2027-01-31 (its first moment), or a span such as 30d.
    #[arg(long, value_name = "TIME", value_parser = quantities::moment)]
    until: Option<Moment>,
    /// Largest arguments of a call, such as 64KiB.
    #[arg(long, value_name = "SIZE", value_parser = quantities::bytes)]
    input_bytes: Option<u64>,
    /// Largest answer that is released.
    #[arg(long, value_name = "SIZE", value_parser = quantities::bytes)]
    output_bytes: Option<u64>,
}

/// Publish an offer on a host.
///
/// The bundle must be live there already, under your account.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes offer publish iris.offer --as acme")]
struct Publish {
    file: PathBuf,
}

/// Show an offer in plain words.
///
/// Its signature is checked first. Each clause says what a host does about it: prevent, detect or record.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes offer show iris.offer\n  hospes offer show sha256:…"
)]
struct Show {
    /// An offer's number in the market, or a file.
    offer: Reference,
}

/// The host's answer to `POST /api/offers`.
#[derive(Deserialize)]
struct Published {
    id: Digest,
    model: ModelName,
}

impl Offer {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::New(new) => new.run(context),
            Action::Publish(publish) => publish.run(context),
            Action::Show(show) => {
                let offer = read(&context.visitor(), &show.offer)?;
                Ok(Answer::new(
                    format!("{}\noffer {}", render_offer(offer.offer()), offer.id()),
                    summary(&offer),
                ))
            }
        }
    }
}

impl New {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let key = context.me()?.key()?;
        let bundle = self.bundle_digest()?;
        let permissions = self.terms.permissions(self.functions, context);
        let offer = agreement::Offer::new(key.party(), self.model.clone(), bundle, permissions)?;
        let offer = SignedOffer::sign(offer, &key)?;
        let path = self.output.unwrap_or_else(|| format!("{}.offer", self.model.label).into());
        document::write_new(&path, &offer.to_bytes())?;
        let plain = format!(
            "{}\nsigned offer {}\nwrote {}\nnext: hospes offer publish {}",
            render_offer(offer.offer()),
            offer.id(),
            path.display(),
            path.display()
        );
        let mut json = summary(&offer);
        json["file"] = json!(path);
        Ok(Answer::new(plain, json))
    }

    /// The digest of the version offered; of a file, after a look that the offer fits it.
    fn bundle_digest(&self) -> Result<Digest, Failure> {
        match (&self.bundle, self.digest) {
            (Some(path), _) => self.check_bundle(path),
            (None, Some(digest)) => Ok(digest),
            (None, None) => Err(Failure::new("no bundle was named").fix("say `--bundle FILE`")),
        }
    }
}

impl New {
    fn check_bundle(&self, path: &Path) -> Result<Digest, Failure> {
        let inspection = inspect::read_signed(path)?;
        let manifest = inspection.manifest();
        if manifest.name != self.model.label {
            return Err(Failure::new(format!(
                "the bundle is of model `{}`, not of `{}`",
                manifest.name, self.model.label
            ))
            .fix(format!("offer it as `{}/{}`", self.model.publisher, manifest.name)));
        }
        let missing =
            |wanted: &&FunctionName| !manifest.functions.iter().any(|f| f.name == **wanted);
        match self.functions.iter().find(missing) {
            None => Ok(*inspection.digest()),
            Some(function) => {
                let names: Vec<&str> = manifest.functions.iter().map(|f| f.name.as_str()).collect();
                Err(Failure::new(format!("the bundle has no function `{function}`"))
                    .fix(format!("name one of: {}", names.join(", "))))
            }
        }
    }
}

impl Terms {
    fn permissions(&self, functions: Vec<FunctionName>, context: &Context) -> Vec<PermissionSpec> {
        let now = context.clock.now();
        let permission = |function| PermissionSpec {
            function,
            count: self.calls,
            from: self.from.map(|moment| moment.resolve(now)),
            until: self.until.map(|moment| moment.resolve(now)),
            input_bytes_max: self.input_bytes,
            output_bytes_max: self.output_bytes,
        };
        functions.into_iter().map(permission).collect()
    }
}

impl Publish {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let bytes = document::read(&self.file)?;
        let offer = parse(&bytes, || format!("`{}` is not a valid offer", self.file.display()))?;
        let post = Post {
            content_type: document::ENVELOPE_TYPE,
            headers: Vec::new(),
            body: Payload::Bytes(bytes),
        };
        let (json, published): (_, Published) =
            context.client()?.post("/api/offers", post)?.document()?;
        if published.id != *offer.id() {
            return Err(Failure::new("the host published another offer than the one sent"));
        }
        let Published { id, model } = published;
        let plain = format!(
            "offered {model} on {}\n  offer {id}\nconsumers: hospes agree {id}",
            context.host
        );
        Ok(Answer::new(plain, json))
    }
}

/// Reads an offer from the market or a file, and checks its signature.
///
/// # Errors
/// If there is none, or it is not validly signed, or the host gave another than the one asked for.
pub fn read(client: &Client, reference: &Reference) -> Result<SignedOffer, Failure> {
    match reference {
        Reference::File(path) => {
            parse(&document::read(path)?, || format!("`{}` is not a valid offer", path.display()))
        }
        Reference::Id(id) => {
            let bytes = client.get(&format!("/api/offers/{id}"))?.body;
            let offer = parse(&bytes, || "the host's offer is not valid".into())?;
            if offer.id() == id {
                Ok(offer)
            } else {
                Err(Failure::new(format!("the host sent offer `{}` instead of `{id}`", offer.id())))
            }
        }
    }
}

fn parse(bytes: &[u8], wrong: impl FnOnce() -> String) -> Result<SignedOffer, Failure> {
    SignedOffer::parse(bytes).during(wrong)
}

fn summary(offer: &SignedOffer) -> serde_json::Value {
    let document = offer.offer();
    json!({
        "id": offer.id(),
        "publisher": document.assigner(),
        "model": document.model(),
        "bundle": document.bundle(),
        "text": render_offer(document),
    })
}
