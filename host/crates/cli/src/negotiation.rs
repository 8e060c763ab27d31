//! `hospes negotiation`: request other terms, make counter-offers, accept and sign.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Context;
use super::agreement;
use super::client::{Client, Payload, Post};
use super::document::{self, Reference};
use super::failure::{During as _, Failure};
use super::home::Identity;
use super::offer;
use super::screen::{Answer, printable, table};
use hospes_agreement::negotiation::{Message, Move, MoveKind, Negotiation, SignedMove, State};
use hospes_agreement::{
    Agreement, Clauses, Proposal, Request, Role, SignedOffer, SignedRequest, lines, render_offer,
    render_request,
};
use hospes_wire::negotiations::{Outline, Page, Shown};

/// Negotiate the terms of an agreement.
///
/// A consumer requests an offer, unchanged or with other terms. The publisher agrees or makes a counter-offer, and so on until
/// both have signed. Each step is signed, and each is verified here before you sign the next. `show` says whose turn it is.
#[derive(Debug, Args)]
pub struct Negotiations {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(List),
    Show(Show),
    Request(Ask),
    Counter(Counter),
    Accept(Accept),
    Agree(Agree),
    Verify(Verify),
    Terminate(Terminate),
}

/// List your negotiations.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes negotiation list --as zoe")]
struct List {}

/// Show a negotiation: its messages, the terms on the table, and whose turn it is.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes negotiation show urn:uuid:… --as zoe")]
struct Show {
    /// The negotiation.
    id: String,
}

/// Request an agreement on an offer's terms, or on others.
///
/// `--clause` lines replace the offer's clauses of the same kind, or are added. To answer the offer on the table of a
/// negotiation, name that with `--in`.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes negotiation request sha256:… --clause \"count lteq 500 call\" --as zoe"
)]
struct Ask {
    /// The offer's identifier, or its file.
    #[arg(required_unless_present = "negotiation")]
    offer: Option<Reference>,
    /// The negotiation to answer in.
    #[arg(long = "in", value_name = "ID", conflicts_with = "offer")]
    negotiation: Option<String>,
    /// A clause that you want, such as `count lteq 500 call`; can be repeated.
    #[arg(long = "clause", value_name = "LINE")]
    clauses: Vec<String>,
    /// Sign without asking, and print only the differences.
    #[arg(long, short)]
    yes: bool,
}

/// Answer a request with an offer of your own.
///
/// `--clause` lines offer the terms on the table with those changes; a file offers its own terms.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes negotiation counter urn:uuid:… --clause \"count lteq 200 call\" --as acme"
)]
struct Counter {
    /// The negotiation.
    id: String,
    /// An offer made with `hospes offer new` and `--to`.
    #[arg(long, value_name = "FILE", conflicts_with = "clauses")]
    offer: Option<PathBuf>,
    /// A clause that you offer; can be repeated.
    #[arg(long = "clause", value_name = "LINE")]
    clauses: Vec<String>,
    /// Sign without asking, and print only the differences.
    #[arg(long, short)]
    yes: bool,
}

/// Accept the offer on the table.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes negotiation accept urn:uuid:… --as zoe")]
struct Accept {
    /// The negotiation.
    id: String,
    /// Sign without asking, and print one line instead of the whole text.
    #[arg(long, short)]
    yes: bool,
}

/// Sign the agreement as publisher, on the accepted offer's or the request's terms.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes negotiation agree urn:uuid:… --as acme")]
struct Agree {
    /// The negotiation.
    id: String,
    /// Sign without asking, and print one line instead of the whole text.
    #[arg(long, short)]
    yes: bool,
}

/// Sign the agreement as consumer. It is in force from then on.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes negotiation verify urn:uuid:… --as zoe")]
struct Verify {
    /// The negotiation.
    id: String,
    /// Sign without asking, and print one line instead of the whole text.
    #[arg(long, short)]
    yes: bool,
}

/// End a negotiation.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes negotiation terminate urn:uuid:… --as zoe")]
struct Terminate {
    /// The negotiation.
    id: String,
}

impl Negotiations {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        match self.action {
            Action::List(List {}) => list(context),
            Action::Show(Show { id }) => show(context, &id),
            Action::Request(ask) => ask.run(context),
            Action::Counter(counter) => counter.run(context),
            Action::Accept(Accept { id, yes }) => moved(context, &id, MoveKind::Accept, yes),
            Action::Terminate(Terminate { id }) => moved(context, &id, MoveKind::Terminate, true),
            Action::Agree(Agree { id, yes }) => agree(context, &id, yes),
            Action::Verify(Verify { id, yes }) => verify(context, &id, yes),
        }
    }
}

fn list(context: &Context) -> Result<Answer, Failure> {
    let (json, listing): (Value, Page) =
        context.client()?.pages("/api/negotiations", "negotiations")?;
    if listing.negotiations.is_empty() {
        return Ok(Answer::new(
            "no negotiations; begin one with `hospes negotiation request`",
            json,
        ));
    }
    let rows: Vec<_> = listing
        .negotiations
        .into_iter()
        .map(|Outline { id, state, turn, model, .. }| {
            let turn = turn.map_or_else(|| "-".into(), |turn| turn.to_string());
            vec![model.to_string(), state.to_string(), turn, id]
        })
        .collect();
    Ok(Answer::new(printable(&table(&["MODEL", "STATE", "TURN", "NEGOTIATION"], &rows)), json))
}

fn show(context: &Context, id: &str) -> Result<Answer, Failure> {
    let (negotiation, json) = fetch(&context.client()?, id)?;
    let mut plain = format!("{} is {}", negotiation.urn(), negotiation.state());
    for taken in negotiation.messages() {
        plain += &format!("\n  {}  {:12} {}", taken.at, taken.message.kind(), taken.by);
    }
    plain += "\non the table";
    for line in lines(negotiation.clauses()) {
        plain += &format!("\n  [{}] {}", line.class.name(), line.text);
    }
    plain += &match negotiation.state().turn() {
        Some(role) => format!("\nnext: the {role}"),
        None => String::new(),
    };
    Ok(Answer::new(printable(&plain), json))
}

impl Ask {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let me = context.me()?;
        let key = me.key()?;
        let client = context.client()?;
        let (path, offer) = match (&self.negotiation, &self.offer) {
            (Some(id), _) => {
                let (negotiation, _) = fetch(&client, id)?;
                let path = format!("/api/negotiations/{}/request", negotiation.urn());
                (path, offered(&negotiation)?)
            }
            (None, Some(reference)) => {
                ("/api/negotiations".to_owned(), offer::read(&client, reference)?)
            }
            (None, None) => return Err(Failure::new("no offer was named")),
        };
        let clauses = changed(offer.offer().clauses(), &self.clauses, context)?;
        let now = context.clock.now();
        let request = Request::new(&offer, clauses, key.party(), now)?;
        context.screen.note(&difference(offer.offer().clauses(), request.clauses()));
        if !self.yes {
            context.screen.note(&render_request(&request));
        }
        ask(context, &me, Role::Consumer, self.yes)?;
        let request = SignedRequest::sign(request, &key)?;
        send(&client, &path, request.to_bytes())
    }
}

impl Counter {
    fn run(self, context: &Context) -> Result<Answer, Failure> {
        let me = context.me()?;
        let key = me.key()?;
        let client = context.client()?;
        let (negotiation, _) = fetch(&client, &self.id)?;
        let signed = match &self.offer {
            Some(path) => SignedOffer::parse(&document::read(path)?)
                .during(|| format!("`{}` is not a valid offer", path.display()))?,
            None => {
                let clauses = changed(negotiation.clauses(), &self.clauses, context)?;
                let to = vec![*negotiation.consumer()];
                SignedOffer::sign(hospes_agreement::Offer::new(key.party(), clauses, to)?, &key)?
            }
        };
        context.screen.note(&difference(negotiation.clauses(), signed.offer().clauses()));
        if !self.yes {
            context.screen.note(&render_offer(signed.offer()));
        }
        ask(context, &me, Role::Publisher, self.yes)?;
        send(&client, &format!("/api/negotiations/{}/offers", negotiation.urn()), signed.to_bytes())
    }
}

fn moved(context: &Context, id: &str, kind: MoveKind, yes: bool) -> Result<Answer, Failure> {
    let me = context.me()?;
    let key = me.key()?;
    let client = context.client()?;
    let (negotiation, _) = fetch(&client, id)?;
    let last = negotiation.messages().last().map(|taken| *taken.message.id());
    let previous = last.ok_or_else(|| Failure::new("the negotiation has no messages"))?;
    let part = match kind {
        MoveKind::Accept => {
            let offered = offered(&negotiation)?;
            context.screen.note(&if yes {
                format!("accepting offer {} for {}", offered.id(), offered.offer().model())
            } else {
                render_offer(offered.offer())
            });
            "events"
        }
        MoveKind::Terminate => "termination",
    };
    let role = negotiation.role(&key.party()).unwrap_or(Role::Consumer);
    ask(context, &me, role, yes)?;
    let now = context.clock.now();
    let issued = jiff::Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let content = Move {
        negotiation: negotiation.urn(),
        kind,
        previous,
        by: key.party(),
        issued,
        expires: None,
    };
    let signed = SignedMove::sign(content, &[&key])?;
    send(&client, &format!("/api/negotiations/{}/{part}", negotiation.urn()), signed.to_bytes())
}

fn agree(context: &Context, id: &str, yes: bool) -> Result<Answer, Failure> {
    let me = context.me()?;
    let key = me.key()?;
    let client = context.client()?;
    let (negotiation, _) = fetch(&client, id)?;
    let now = context.clock.now();
    let agreement = match negotiation.state() {
        State::Requested => Agreement::grant(&requested(&negotiation)?, now)?,
        State::Accepted => {
            Agreement::accept(&offered(&negotiation)?, *negotiation.consumer(), now)?
        }
        state => {
            return Err(Failure::new(format!(
                "the negotiation is {state}: there is nothing to agree to"
            )));
        }
    };
    agreement::ask(context, &agreement, (Role::Publisher, me.name()), yes)?;
    let proposal = Proposal::sign(agreement, &key)?;
    send(
        &client,
        &format!("/api/negotiations/{}/agreement", negotiation.urn()),
        proposal.to_bytes(),
    )
}

fn verify(context: &Context, id: &str, yes: bool) -> Result<Answer, Failure> {
    let me = context.me()?;
    let key = me.key()?;
    let client = context.client()?;
    let (negotiation, _) = fetch(&client, id)?;
    let agreed = negotiation.agreement().cloned();
    let mut proposal =
        agreed.ok_or_else(|| Failure::new("the publisher has not signed an agreement yet"))?;
    agreement::ask(context, proposal.agreement(), (Role::Consumer, me.name()), yes)?;
    proposal.add_signature(&key)?;
    let path = format!("/api/negotiations/{}/agreement/verification", negotiation.urn());
    send(&client, &path, proposal.to_bytes())
}

/// A negotiation, rebuilt from its signed messages.
fn fetch(client: &Client, id: &str) -> Result<(Negotiation, Value), Failure> {
    let id = id.strip_prefix("urn:uuid:").unwrap_or(id);
    let uuid = uuid::Uuid::try_parse(id).map_err(|_| {
        Failure::new(format!("`{id}` is not a negotiation: write it as `urn:uuid:…`"))
    })?;
    let (json, shown): (Value, Shown) = client.document(&format!("/api/negotiations/{id}"))?;
    let mut negotiation: Option<Negotiation> = None;
    for said in &shown.messages {
        let envelope = serde_json_canonicalizer::to_vec(&said.envelope)
            .map_err(|error| Failure::new(error.to_string()))?;
        let message = Message::parse(&envelope)
            .during(|| format!("the host's message {} is not valid", said.id))?;
        let at = said.at.parse();
        let at = at.during(|| format!("the host's `{}` is not a time", said.at))?;
        match &mut negotiation {
            None => negotiation = Some(Negotiation::begin(uuid, message, at)?),
            Some(negotiation) => {
                negotiation.apply(message, at)?;
            }
        }
    }
    let mut negotiation =
        negotiation.ok_or_else(|| Failure::new("the host's negotiation has no messages"))?;
    if shown.outline.state.as_str() == State::Finalized.name() {
        negotiation.finalize();
    }
    Ok((negotiation, json))
}

fn offered(negotiation: &Negotiation) -> Result<SignedOffer, Failure> {
    let offers = negotiation.messages().iter().rev();
    let found = offers.filter_map(|taken| match &taken.message {
        Message::Offer(offer) => Some(offer.clone()),
        Message::Request(_) | Message::Move(_) | Message::Agreement(_) => None,
    });
    found.into_iter().next().ok_or_else(|| Failure::new("there is no offer on the table"))
}

fn requested(negotiation: &Negotiation) -> Result<SignedRequest, Failure> {
    let requests = negotiation.messages().iter().rev();
    let found = requests.filter_map(|taken| match &taken.message {
        Message::Request(request) => Some(request.clone()),
        Message::Offer(_) | Message::Move(_) | Message::Agreement(_) => None,
    });
    found.into_iter().next().ok_or_else(|| Failure::new("there is no request on the table"))
}

/// The same clauses, with `lines` in place of those of the same kind.
fn changed(clauses: &Clauses, lines: &[String], context: &Context) -> Result<Clauses, Failure> {
    let mut changed = clauses.clone();
    for line in lines {
        changed.replace_line(line, context.clock.now())?;
    }
    Ok(changed)
}

/// The differences, one clause per line.
fn difference(before: &Clauses, after: &Clauses) -> String {
    let (before, after) = (lines(before), lines(after));
    let gone = before.iter().filter(|line| !after.contains(line));
    let new = after.iter().filter(|line| !before.contains(line));
    let mut text = String::new();
    for (mark, line) in gone.map(|line| ('-', line)).chain(new.map(|line| ('+', line))) {
        text += &format!("{mark} [{}] {} {}\n", line.class.name(), line.rule, line.text);
    }
    if text.is_empty() { "the terms are the same".to_owned() } else { text }
}

fn ask(context: &Context, me: &Identity, role: Role, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    context.screen.confirm(&format!("sign this as {role} `{}`?", me.name()))
}

fn send(client: &Client, path: &str, bytes: Vec<u8>) -> Result<Answer, Failure> {
    let post = Post {
        content_type: document::ENVELOPE_TYPE,
        headers: Vec::new(),
        body: Payload::Bytes(bytes),
    };
    let (json, shown): (Value, Shown) = client.post(path, post)?.document()?;
    let shown = shown.outline;
    let agreement = json["agreement"].as_str().map(|id| format!("\n  agreement {id}"));
    let plain =
        format!("{}\n  state     {}{}", shown.id, shown.state, agreement.unwrap_or_default());
    let json = json!({"id": shown.id, "state": shown.state, "turn": json["turn"], "agreement": json["agreement"]});
    Ok(Answer::new(printable(&plain), json))
}
