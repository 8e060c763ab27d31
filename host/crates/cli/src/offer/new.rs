//! `hospes offer new`: makes an offer from a template, options and clauses in short lines.

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use semver::Version;
use serde_json::json;

use super::super::Context;
use super::super::document::Force;
use super::super::failure::Failure;
use super::super::inspect;
use super::super::quantities::{self, Moment};
use super::super::screen::Answer;
use super::summary;
use hospes_agreement::templates::{TEMPLATES, Template};
use hospes_agreement::{Clauses, Offer, Permission, SignedOffer, Target, Versions, render_offer};
use hospes_core::id::{Digest, FunctionName, ModelName, Party};

/// Make and sign an offer.
///
/// All named functions share the terms. What you do not limit is unlimited. Terms come from options, `--clause` lines and a
/// template; options and lines override the template. Times are UTC.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("offered").required(true).args(["bundle", "digest", "from_version"]))]
#[command(
    after_long_help = "Example:\n  hospes offer new acme/iris --bundle iris.wasm --function infer \\\n      \
    --calls 100 --until 30d --input-bytes 64KiB --as acme -o iris.offer\n  \
    hospes offer new acme/iris --bundle iris.wasm --function infer --template trial --set calls=50 --as acme\n  \
    hospes offer new acme/iris --bundle iris.wasm --function infer \\\n      \
    --clause \"topK lteq 1\" --clause \"purpose isAnyOf https://w3id.org/dpv#ResearchAndDevelopment\" --as acme\n\n\
    `hospes offer templates` lists the templates, `hospes profile terms` everything that a clause can say."
)]
pub struct New {
    /// The model, `publisher/model`.
    model: ModelName,
    /// The signed bundle to offer.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The bundle's digest, if you do not have the file.
    #[arg(long, value_name = "sha256:…")]
    digest: Option<Digest>,
    /// Offer a range of versions instead: from this one on.
    #[arg(long, value_name = "VERSION", value_parser = quantities::version)]
    from_version: Option<Version>,
    /// The end of the range: before this version.
    #[arg(long, value_name = "VERSION", requires = "from_version", value_parser = quantities::version)]
    before_version: Option<Version>,
    /// A function that may be called; can be repeated.
    #[arg(long = "function", value_name = "FUNCTION", required = true)]
    functions: Vec<FunctionName>,
    #[command(flatten)]
    terms: Terms,
    /// Begin with a template, such as `trial`.
    #[arg(long, value_name = "NAME", value_parser = template)]
    template: Option<&'static Template>,
    /// Set one of the template's placeholders; can be repeated.
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "template", value_parser = assignment)]
    holes: Vec<(String, String)>,
    /// A clause, such as `callRate lteq 5 PT1S`; can be repeated.
    #[arg(long = "clause", value_name = "LINE")]
    clauses: Vec<String>,
    /// Make it a private offer to this party; can be repeated.
    #[arg(long = "to", value_name = "did:key:…")]
    audience: Vec<Party>,
    /// Make it an amendment that replaces this agreement.
    #[arg(long, value_name = "sha256:…")]
    supersedes: Option<Digest>,
    /// Resell part of this agreement of yours.
    #[arg(long, value_name = "sha256:…")]
    under: Option<Digest>,
    /// The offer's file [default: MODEL.offer].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

#[derive(Debug, Args)]
struct Terms {
    /// Most calls of each function.
    #[arg(long, value_name = "N", value_parser = quantities::number::<u64>)]
    calls: Option<u64>,
    /// When calls may begin: a date, a moment, or a span from now.
    #[arg(long, value_name = "TIME", value_parser = quantities::moment)]
    from: Option<Moment>,
    /// When calls may no longer begin: a date such as 2027-01-31 (its first moment), or a span such as 30d.
    #[arg(long, value_name = "TIME", value_parser = quantities::moment)]
    until: Option<Moment>,
    /// Largest arguments of a call, such as 64KiB.
    #[arg(long, value_name = "SIZE", value_parser = quantities::bytes)]
    input_bytes: Option<u64>,
    /// Largest response to release.
    #[arg(long, value_name = "SIZE", value_parser = quantities::bytes)]
    output_bytes: Option<u64>,
    /// A purpose that calls may declare, as an IRI; can be repeated.
    #[arg(long = "purpose", value_name = "IRI")]
    purposes: Vec<String>,
    /// Release only this many of the ranked results.
    #[arg(long, value_name = "K", value_parser = quantities::number::<u32>)]
    top_k: Option<u32>,
    /// Round numbers in responses to this many decimals.
    #[arg(long, value_name = "N", value_parser = quantities::number::<u8>)]
    decimals: Option<u8>,
    /// Release only these fields of responses, separated by commas.
    #[arg(long, value_name = "NAMES")]
    fields: Option<String>,
    /// Release only labels, no scores.
    #[arg(long)]
    label_only: bool,
}

impl Terms {
    /// The options as clauses.
    fn lines(&self, context: &Context) -> Vec<String> {
        let now = context.clock.now();
        let some = |text: Option<String>| text.into_iter();
        let purposes = (!self.purposes.is_empty()).then(|| self.purposes.join(","));
        some(self.calls.map(|calls| format!("count lteq {calls} call")))
            .chain(self.from.map(|from| format!("dateTime gteq {}", from.resolve(now))))
            .chain(self.until.map(|until| format!("dateTime lt {}", until.resolve(now))))
            .chain(self.input_bytes.map(|bytes| format!("inputBytes lteq {bytes} byte")))
            .chain(self.output_bytes.map(|bytes| format!("outputBytes lteq {bytes} byte")))
            .chain(purposes.map(|purposes| format!("purpose isAnyOf {purposes}")))
            .chain(self.top_k.map(|k| format!("topK lteq {k}")))
            .chain(self.decimals.map(|digits| format!("outputDecimals lteq {digits}")))
            .chain(self.fields.as_ref().map(|fields| format!("outputFields isAnyOf {fields}")))
            .chain(self.label_only.then(|| "labelOnly eq true".to_owned()))
            .collect()
    }
}

impl New {
    /// The same, as a part of an agreement.
    #[must_use]
    pub fn under(mut self, agreement: Digest) -> Self {
        self.under = Some(agreement);
        self
    }

    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let key = context.me()?.key()?;
        let clauses = self.clauses(context)?;
        let offer = Offer::new(key.party(), clauses, self.audience.clone())?;
        let offer = SignedOffer::sign(offer, &key)?;
        let path = self.output.unwrap_or_else(|| format!("{}.offer", self.model.label).into());
        self.force.write(&path, &offer.to_bytes())?;
        let plain = format!(
            "{}\nsigned offer {}\nwrote {}\nnext: hospes offer publish {}",
            render_offer(offer.offer()),
            offer.id(),
            path.display(),
            path.display()
        );
        let mut json = summary(&offer);
        json["file"] = json!(path.display().to_string());
        Ok(Answer::new(plain, json))
    }

    fn clauses(&self, context: &Context) -> Result<Clauses, Failure> {
        let target = Target { model: self.model.clone(), versions: self.versions()? };
        let permissions = self.functions.iter().cloned().map(Permission::new).collect();
        let mut clauses = Clauses::new(target, permissions);
        let now = context.clock.now();
        for line in self.terms.lines(context).iter().chain(&self.clauses) {
            clauses.add_line(line, now)?;
        }
        if let Some(template) = self.template {
            template.apply(&mut clauses, &self.holes, now)?;
        }
        clauses.supersedes = self.supersedes;
        clauses.parent = self.under;
        Ok(clauses)
    }

    /// The offered versions. A bundle's file is checked against the offer first.
    fn versions(&self) -> Result<Versions, Failure> {
        match (&self.bundle, self.digest) {
            (Some(path), _) => Ok(Versions::Bundle(self.check_bundle(path)?)),
            (None, Some(digest)) => Ok(Versions::Bundle(digest)),
            (None, None) => {
                let (from, before) = (self.from_version.clone(), self.before_version.clone());
                Ok(Versions::Range { from, before })
            }
        }
    }

    fn check_bundle(&self, path: &Path) -> Result<Digest, Failure> {
        let inspection = inspect::read_signed(path)?;
        let manifest = inspection.manifest();
        if manifest.name != self.model.label {
            return Err(Failure::new(format!(
                "the bundle holds model `{}`, not `{}`",
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

fn template(name: &str) -> Result<&'static Template, String> {
    Template::named(name).ok_or_else(|| {
        let names: Vec<_> = TEMPLATES.iter().map(|template| template.name).collect();
        format!("no such template; the templates are {}", names.join(", "))
    })
}

fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write `NAME=VALUE`")?;
    Ok((name.to_owned(), value.to_owned()))
}
