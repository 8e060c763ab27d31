//! `hospes agreement`: countersign, list and read agreements.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::client::{Client, Payload, Post};
use super::document::{self, Force, Reference};
use super::event::{self, Happen};
use super::failure::{During as _, Failure};
use super::offer::{self, New};
use super::screen::{Answer, printable, table};
use super::simulate::SimulatedCall;
use hospes_agreement::events::Change;
use hospes_agreement::{
    self as agreement, AgreementError, Proposal, Role, SignedMandate, lines, render,
};
use hospes_core::id::{AccountName, Digest};
use hospes_wire::agreements::{LimitUse, Page, RuleUse, Submitted};

/// Countersign, list and read agreements.
#[derive(Debug, Args)]
pub struct Agreement {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Sign(Sign),
    List(List),
    Show(Show),
    Simulate(Simulate),
    /// Suspend an agreement: no calls until it is resumed.
    ///
    /// A publisher's suspension takes effect after the agreed notice period, unless the reason is urgent: abuse,
    /// non-payment, legal-order, security, key-compromise.
    #[command(
        after_long_help = "Example:\n  hospes agreement suspend sha256:… --reason abuse --as acme"
    )]
    Suspend(Happen),
    /// Resume an agreement that you suspended.
    #[command(after_long_help = "Example:\n  hospes agreement resume sha256:… --as acme")]
    Resume(Happen),
    /// End an agreement early, for good.
    #[command(after_long_help = "Example:\n  hospes agreement terminate sha256:… --as me")]
    Terminate(Happen),
    /// Declare an agreement fulfilled: it ends for good.
    #[command(after_long_help = "Example:\n  hospes agreement complete sha256:… --as me")]
    Complete(Happen),
    /// Resell part of an agreement: make an offer under it.
    ///
    /// The agreement must allow that (`odrl:grantUse`). The offer cannot be wider, and its consumers' use also counts against
    /// your agreement. Takes the same arguments as `hospes offer new`.
    #[command(
        after_long_help = "Example:\n  hospes agreement delegate sha256:… acme/iris --digest sha256:… --function infer \\\n      --calls 10 --to did:key:… --as reseller"
    )]
    Delegate(Delegate),
}

/// Sign an agreement that the other party has signed.
///
/// Fetches it, checks that it accepts one of your offers unchanged, shows it in plain words, asks, signs and submits it. It is
/// in force from then on.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes agreement list --as acme\n  hospes agreement sign sha256:… --as acme"
)]
struct Sign {
    /// The agreement's identifier.
    id: Digest,
    /// Sign without asking, and print one line instead of the whole text.
    #[arg(long, short)]
    yes: bool,
}

/// List your agreements, and what is used and left of each limit.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes agreement list --as me")]
struct List {}

/// Show an agreement in plain words, and who has signed it.
///
/// The signatures are checked first.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes agreement show sha256:… --as me -o iris.agreement\n  \
    hospes agreement show iris.agreement"
)]
struct Show {
    /// An agreement's identifier on the host, or a file.
    agreement: Reference,
    /// Save the signed document to a file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

/// Ask the host whether an agreement would allow a call, and why not.
///
/// Shows every rule and every constraint, with the value seen and the value wanted. Nothing is called or charged.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes agreement simulate sha256:… --function infer --input-bytes 4096 --as me"
)]
struct Simulate {
    /// The agreement's identifier.
    id: Digest,
    #[command(flatten)]
    call: SimulatedCall,
}

/// The agreement above, and the offer under it.
#[derive(Debug, Args)]
struct Delegate {
    /// The identifier of your agreement.
    id: Digest,
    #[command(flatten)]
    offer: Box<New>,
}

/// Whether a signature is missing.
pub fn is_proposed(submitted: &Submitted) -> bool {
    !submitted.missing.is_empty()
}

/// What is used, and what is left.
fn limit_shown(limit: &LimitUse) -> (String, String) {
    let (amount, unit): (fn(u64) -> String, &str) = match limit.limit.as_str() {
        "bytes" => (hospes_config::about_bytes, ""),
        "callsInPeriod" => (|calls| calls.to_string(), " calls of the period"),
        "timeMicros" => (millionths, " s"),
        // The agreement says in which currency.
        "priceMicros" => (millionths, " of the credit"),
        unit => (|count| count.to_string(), unit),
    };
    let space = if limit.limit == unit { " " } else { "" };
    let used = format!("{} of {}{space}{unit}", amount(limit.used), amount(limit.max));
    let one = unit.strip_suffix('s').filter(|_| limit.left == 1 && !space.is_empty());
    let unit = one.unwrap_or(unit);
    (used, format!("{}{space}{unit}", amount(limit.left)))
}

/// A number that is counted in millionths.
fn millionths(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What is used of each limit, and what is left of it.
fn shown(rule: &RuleUse) -> (String, String) {
    let calls = match rule.max {
        Some(max) => {
            let left = max.saturating_sub(rule.used);
            limit_shown(&LimitUse { limit: "calls".to_owned(), used: rule.used, max, left })
        }
        None => (format!("{} calls", rule.used), "no limit".to_owned()),
    };
    let others = rule.limits.iter().filter(|limit| limit.limit != "calls").map(limit_shown);
    let mut all: Vec<_> = others.collect();
    if rule.max.is_some() || all.is_empty() {
        all.insert(0, calls);
    }
    let (used, left): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    (used.join(", "), left.join(", "))
}

impl Agreement {
    pub(crate) fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::Sign(sign) => sign.run(context),
            Action::List(List {}) => {
                let (json, listing): (_, Page) =
                    context.client()?.pages("/api/agreements", "agreements")?;
                Ok(Answer::new(printable(&overview(&listing)), json))
            }
            Action::Show(show) => show.run(context),
            Action::Suspend(happen) => happen.run(context, Change::Suspend),
            Action::Resume(happen) => happen.run(context, Change::Resume),
            Action::Terminate(happen) => happen.run(context, Change::Terminate),
            Action::Complete(happen) => happen.run(context, Change::Complete),
            Action::Delegate(Delegate { id, offer }) => offer.under(id).run(context),
            Action::Simulate(Simulate { id, call }) => {
                call.run(context, &format!("/api/agreements/{id}/simulate"))
            }
        }
    }
}

impl Sign {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let me = context.me()?;
        let key = me.key()?;
        let client = context.client()?;
        let mut proposal = fetch(&client, &self.id)?;
        let agreement = proposal.agreement();
        let role = [Role::Publisher, Role::Consumer]
            .into_iter()
            .find(|role| *agreement.party(*role) == key.party())
            .ok_or_else(|| {
                Failure::new(format!("`{}` is neither of the agreement's parties", me.name()))
            })?;
        if proposal.signed_by(role) {
            return Err(Failure::new(format!("`{}` has signed this agreement already", me.name()))
                .fix(format!("`hospes agreement show {}` says who has yet to sign", self.id)));
        }
        // A signed offer proves that the publisher wrote these terms; the host's word alone would not.
        let offer = offer::read(&client, &Reference::Id(*agreement.offer_id()))?;
        agreement
            .matches(&offer)
            .during(|| "the agreement differs from the offer; do not sign it".into())?;
        ask(context, agreement, (role, me.name()), self.yes)?;
        proposal.add_signature(&key)?;
        let submitted = submit(&client, &proposal)?;
        let plain = format!(
            "signed as {role}\n  agreement {}\n  state     {}",
            submitted.id, submitted.state
        );
        let json =
            json!({"id": submitted.id, "state": submitted.state, "missing": submitted.missing});
        Ok(Answer::new(printable(&plain), json))
    }
}

impl Show {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let proposal = match &self.agreement {
            Reference::Id(id) => fetch(&context.client()?, id)?,
            Reference::File(path) => parse(&context.visitor(), &document::read(path)?)
                .during(|| format!("`{}` is not a valid agreement", path.display()))?,
        };
        if let Some(path) = &self.output {
            self.force.write(path, &proposal.to_bytes())?;
        }
        let signed = |role| if proposal.signed_by(role) { "signed" } else { "has yet to sign" };
        let agreement = proposal.agreement();
        let mut plain = format!(
            "{}\nagreement {}\n  publisher {}\n  consumer  {}",
            render(agreement),
            proposal.id(),
            signed(Role::Publisher),
            signed(Role::Consumer)
        );
        let history = match &self.agreement {
            Reference::Id(id) => event::summary(&context.client()?, id),
            Reference::File(_) => None,
        };
        if let Some((state, _)) = &history {
            plain += &printable(&format!("\n  state     {state}"));
        }
        if let Some(path) = &self.output {
            plain += &format!("\nwrote {}", path.display());
        }
        let json = json!({
            "id": proposal.id(),
            "offer": agreement.offer_id(),
            "model": agreement.model(),
            "versions": agreement.clauses().target.versions.to_string(),
            "clauses": lines(agreement.clauses()),
            "publisher": agreement.assigner(),
            "consumer": agreement.assignee(),
            "missing": proposal.missing(),
            "text": render(agreement),
            "file": self.output.as_ref().map(|path| path.display().to_string()),
            "state": history.as_ref().map(|(state, _)| state),
            "events": history.as_ref().map(|(_, events)| events),
        });
        Ok(Answer::new(plain, json))
    }
}

/// Shows the document to sign and asks. With `--yes` it prints one line instead.
///
/// # Errors
/// If the answer is not yes.
pub fn ask(
    context: &Context,
    agreement: &agreement::Agreement,
    (role, name): (Role, &AccountName),
    yes: bool,
) -> Result<(), Failure> {
    if yes {
        context.screen.note(&line(agreement, role, name));
        return Ok(());
    }
    context.screen.note(&render(agreement));
    context.screen.confirm(&format!("sign this as {role} `{name}`?"))
}

/// An agreement in one line.
fn line(agreement: &agreement::Agreement, role: Role, name: &AccountName) -> String {
    let clauses = agreement.clauses();
    let functions: Vec<_> =
        clauses.permissions.iter().map(|permission| permission.function.as_str()).collect();
    format!(
        "signing as {role} `{name}`: {} ({}), {} clauses, from {}",
        agreement.model(),
        functions.join(", "),
        lines(clauses).len(),
        agreement.offer_id()
    )
}

/// Submits a proposal.
///
/// # Errors
/// If the host refuses it, or took a different one.
pub fn submit(client: &Client, proposal: &Proposal) -> Result<Submitted, Failure> {
    let post = Post {
        content_type: document::ENVELOPE_TYPE,
        headers: Vec::new(),
        body: Payload::Bytes(proposal.to_bytes()),
    };
    let (_, submitted): (Value, Submitted) = client.post("/api/agreements", post)?.document()?;
    if submitted.id == *proposal.id() {
        Ok(submitted)
    } else {
        Err(Failure::new("the host took a different agreement from the one sent"))
    }
}

pub fn fetch(client: &Client, id: &Digest) -> Result<Proposal, Failure> {
    let bytes = client.get(&format!("/api/agreements/{id}"))?.body;
    let proposal = parse(client, &bytes).during(|| "the host's agreement is not valid".into())?;
    if proposal.id() == id {
        Ok(proposal)
    } else {
        Err(Failure::new(format!("the host sent agreement `{}` instead of `{id}`", proposal.id())))
    }
}

/// Reads an agreement. If the host signed it for the publisher, the publisher's mandate comes with it.
fn parse(client: &Client, bytes: &[u8]) -> Result<Proposal, AgreementError> {
    Proposal::parse(bytes).or_else(|error| {
        let offer = Proposal::offer_of(bytes)?;
        let Ok(reply) = client.get(&format!("/api/offers/{offer}/mandate")) else {
            return Err(error);
        };
        Proposal::parse_with(bytes, Some(&SignedMandate::parse(&reply.body)?))
    })
}

fn overview(listing: &Page) -> String {
    if listing.agreements.is_empty() {
        return "no agreements yet; find an offer with `hospes market`".to_owned();
    }
    let mut rows = Vec::new();
    for entry in &listing.agreements {
        let state = match entry.missing.as_slice() {
            [] => entry.state.to_string(),
            missing => {
                let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
                format!("{}, {} to sign", entry.state, missing.join(" and "))
            }
        };
        let head = |function: &str, (used, left): (String, String), ends: &str| {
            vec![
                entry.model.to_string(),
                function.to_owned(),
                used,
                left,
                ends.to_owned(),
                state.clone(),
                entry.id.to_string(),
            ]
        };
        if entry.rules.is_empty() {
            rows.push(head("-", ("-".into(), "-".into()), "-"));
        }
        for rule in &entry.rules {
            let ends = rule.ends.as_deref().unwrap_or("-");
            rows.push(head(rule.function.as_str(), shown(rule), ends));
        }
    }
    table(&["MODEL", "FUNCTION", "USED", "LEFT", "ENDS", "STATE", "AGREEMENT"], &rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_overview_says_what_is_used_and_left_and_who_has_to_sign() {
        let document = r#"{"agreements":[
            {"id":"ID","model":"a/m","publisher":"PARTY","consumer":"PARTY","state":"active","missing":[],
             "rules":[{"rule":0,"function":"f","used":2,"max":3,"remaining":1,"ends":"2027-01-01T00:00:00Z",
              "limits":[{"limit":"calls","used":2,"max":3,"left":1},{"limit":"bytes","used":1024,"max":4096,"left":3072},
                        {"limit":"timeMicros","used":250000,"max":10000000,"left":9750000}]},
                      {"rule":1,"function":"g","used":7,"max":null,"remaining":null,"ends":null}]},
            {"id":"ID","model":"a/m","publisher":"PARTY","consumer":"PARTY","state":"proposed","missing":["publisher"],"rules":[]}]}"#;
        let party = "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp";
        let id = Digest::of(b"an agreement").to_string();
        let document = document.replace("ID", &id).replace("PARTY", party);
        let text = overview(&serde_json::from_str(&document).expect("a listing"));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 4, "{text}");
        let used = "2 of 3 calls, 1.00 KiB of 4.00 KiB, 0.25 of 10 s";
        assert!(lines[1].contains(used), "{text}");
        let left = "1 call, 3.00 KiB, 9.75 s  2027-01-01T00:00:00Z  active";
        assert!(lines[1].contains(left), "{text}");
        assert!(lines[2].starts_with("a/m    g         7 calls"), "{text}");
        assert!(lines[2].contains("no limit"), "{text}");
        assert!(lines[3].contains("proposed, publisher to sign"), "{text}");
    }
}
