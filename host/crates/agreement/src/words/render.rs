//! Offers, requests and agreements in plain language, for the people who sign them.
//!
//! The page is generated from the same values that are compiled and enforced, in the registry's wording, so it cannot promise what the host
//! does not do. Each clause says what the host does: *prevent* (makes a violation impossible), *detect* (a violation becomes visible, or
//! enforcement relies on somebody's statement) or *record* (it is a promise).

use std::fmt::Write as _;

use crate::document::clause::{
    Asset, Ban, Constraint, Obligation, Permission, Price, Prohibition, Unit,
};
use crate::document::value::{RightOperand, Span};
use crate::document::{Agreement, Clauses, Offer, OnSuspend, Request, Versions};
use crate::registry::{COUNTRY_PREFIX, CURRENCY_PREFIX, Class, Datatype, Operand, Text, Units};

/// One sentence of a document, and its class.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Line {
    /// The JSON pointer of its rule; `/` for the whole document.
    pub rule: String,
    pub class: Class,
    pub text: String,
}

/// The page of an agreement.
pub fn render(agreement: &Agreement) -> String {
    let parties = format!(
        "Publisher: {}\nConsumer:  {}\nDrawn up:  {}\nFrom:      {}\n",
        agreement.assigner(),
        agreement.assignee(),
        agreement.issued(),
        agreement.offer_id()
    );
    page("Agreement", &parties, agreement.clauses())
}

/// The page of an offer.
pub fn render_offer(offer: &Offer) -> String {
    let to = match offer.audience() {
        [] => "any party that accepts this offer".to_owned(),
        parties => parties.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let parties = format!("Publisher: {}\nConsumer:  {to}\n", offer.assigner());
    page("Offer", &parties, offer.clauses())
}

/// The page of a request.
pub fn render_request(request: &Request) -> String {
    let parties = format!(
        "Publisher: {}\nConsumer:  {}\nDrawn up:  {}\nAbout:     {}\n",
        request.assigner(),
        request.assignee(),
        request.issued(),
        request.offer_id()
    );
    page("Request", &parties, request.clauses())
}

/// An offer's permissions, one line each, for lists of offers.
pub fn offer_lines(offer: &Offer) -> Vec<String> {
    let terms = |permission: &Permission| {
        let all = permission.refinements.iter().chain(&permission.constraints);
        let mut clauses: Vec<_> = all.map(sentence).collect();
        clauses.extend(permission.price.as_ref().map(price));
        if clauses.is_empty() { "No limits.".to_owned() } else { clauses.join(" ") }
    };
    let line = |permission: &Permission| format!("{}: {}", permission.function, terms(permission));
    offer.clauses().permissions.iter().map(line).collect()
}

/// Every sentence of a document, in order.
pub fn lines(clauses: &Clauses) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut line =
        |rule: &str, class, text: String| lines.push(Line { rule: rule.to_owned(), class, text });
    for (index, permission) in clauses.permissions.iter().enumerate() {
        let rule = format!("/permission/{index}");
        let execute = Operand::Function.term();
        line(&rule, execute.class, execute.forms[0].1.replace("{}", permission.function.as_str()));
        for constraint in permission.refinements.iter().chain(&permission.constraints) {
            line(&rule, constraint.operand.term().class, sentence(constraint));
        }
        if let Some(owed) = &permission.price {
            line(&rule, Operand::PayAmount.term().class, price(owed));
        }
    }
    if let Some(depth) = clauses.depth {
        let rule = format!("/permission/{}", clauses.permissions.len());
        let levels = if depth == 1 { "one level".to_owned() } else { format!("{depth} levels") };
        let phrase = crate::registry::Verb::GrantUse.entry().phrase;
        line(&rule, Class::Prevent, format!("The consumer may {phrase}, {levels} deep."));
    }
    for (index, prohibition) in clauses.prohibitions.iter().enumerate() {
        line(&format!("/prohibition/{index}"), class_of(prohibition), ban(prohibition));
    }
    for (index, obligation) in clauses.obligations.iter().enumerate() {
        let Obligation { bound, verb } = obligation;
        let text = format!("The {bound} must {}.", verb.entry().phrase);
        line(&format!("/obligation/{index}"), Class::Record, text);
    }
    whole(clauses, &mut line);
    lines
}

fn whole(clauses: &Clauses, line: &mut impl FnMut(&str, Class, String)) {
    let mut prevent = |text: String| line("/", Class::Prevent, text);
    prevent("A call that no permission allows is refused. A prohibition that applies overrides every permission.".to_owned());
    prevent(match &clauses.target.versions {
        Versions::Bundle(_) => "No other version of the model runs under these terms.".to_owned(),
        versions => format!(
            "Only {versions} of the model run under these terms, as signed by the publisher."
        ),
    });
    if clauses.notice > Span::ZERO {
        prevent(format!(
            "The publisher gives {} notice before it suspends or ends the agreement, except for abuse, non-payment, security or a legal order.",
            span(clauses.notice)
        ));
    }
    prevent(match clauses.on_suspend {
        OnSuspend::Finish => "When the agreement is suspended or ended, running calls may finish.".to_owned(),
        OnSuspend::Abort => {
            "When the agreement is suspended or ended, running calls are stopped and release nothing.".to_owned()
        }
    });
    if let Some(max_stale) = clauses.max_stale {
        let age = span(max_stale);
        prevent(format!(
            "Calls are refused if the host's information about the agreement's state is older than {age}."
        ));
    }
    if let Some(parent) = clauses.parent {
        prevent(format!(
            "This is a sub-agreement of {parent}. It draws on the limits of that agreement and ends with it."
        ));
    }
    if let Some(earlier) = clauses.supersedes {
        prevent(format!(
            "This replaces agreement {earlier}. What was used under that agreement counts here."
        ));
    }
    line(
        "/",
        Class::Record,
        "The host writes a receipt for every call that runs, and for refused calls, except when there are many in a row.".to_owned(),
    );
    line(
        "/",
        Class::Detect,
        "Verifying the receipts shows whether one was dropped or changed.".to_owned(),
    );
}

fn page(kind: &str, parties: &str, clauses: &Clauses) -> String {
    let target = &clauses.target;
    let mut page =
        format!("{kind} to use {}\n\n{parties}Versions:  {}\n", target.model, target.versions);
    let mut rule = String::new();
    for line in lines(clauses) {
        if line.rule != rule {
            let _ = writeln!(page, "\n{}", heading(&line.rule, clauses));
            rule.clone_from(&line.rule);
        }
        let label = format!("[{}]", line.class.name());
        let _ = writeln!(page, "  {label:9} {}", line.text);
    }
    page.push_str(
        "\n[prevent] the host makes a violation impossible; [detect] it relies on a statement, or becomes visible later; [record] it is a promise.\n",
    );
    page
}

fn heading(rule: &str, clauses: &Clauses) -> String {
    let (list, number) = rule.trim_start_matches('/').split_once('/').unwrap_or(("", ""));
    match list {
        "permission" if number == clauses.permissions.len().to_string() => {
            "Sub-agreements".to_owned()
        }
        "permission" => format!("Permission {number}"),
        "prohibition" => format!("Prohibition {number}"),
        "obligation" => format!("Obligation {number}"),
        _ => "For the whole agreement".to_owned(),
    }
}

/// A constraint's sentence.
pub fn sentence(constraint: &Constraint) -> String {
    let phrase = constraint.operand.term().phrase(constraint.operator).unwrap_or("{}");
    phrase.replace("{}", &amount(constraint))
}

/// A constraint's value, for people.
pub(crate) fn amount(constraint: &Constraint) -> String {
    let unit = constraint.unit.as_deref();
    let term = constraint.operand.term();
    match (&constraint.value, term.units, unit) {
        (RightOperand::Integer(value), Units::OneOf(_), Some(unit)) => counted(*value, unit),
        (RightOperand::Integer(value), Units::Period, Some(period)) => {
            let period = period.parse().map_or_else(|_| period.to_owned(), span);
            format!("{} in {period}", counted(*value, Unit::Call.iri()))
        }
        (RightOperand::Decimal(amount), _, Some(currency)) => {
            format!("{amount} {}", currency.strip_prefix(CURRENCY_PREFIX).unwrap_or(currency))
        }
        (RightOperand::Duration(length), _, _) => span(*length),
        (RightOperand::Texts(texts), _, _) if term.datatype == Datatype::Texts(Text::Country) => {
            let codes = texts.iter().map(|text| text.strip_prefix(COUNTRY_PREFIX).unwrap_or(text));
            codes.collect::<Vec<_>>().join(", ")
        }
        (value, _, _) => value.to_string(),
    }
}

fn counted(value: u64, unit: &str) -> String {
    let word = Unit::named(unit).map_or("unit", Unit::word);
    if value == 1 { format!("1 {word}") } else { format!("{value} {word}s") }
}

fn price(price: &Price) -> String {
    let currency = price.currency.strip_prefix(CURRENCY_PREFIX).unwrap_or(&price.currency);
    let form = |operand: Operand| operand.term().forms[0].1;
    let mut text = form(Operand::PayAmount).replace("{}", &format!("{} {currency}", price.amount));
    text += &form(Operand::UnitOfCount).replace("{}", price.unit.word());
    if let Some(free) = price.free {
        text += &form(Operand::FreeUnits).replace("{}", &counted(free, price.unit.iri()));
    }
    text + "."
}

fn class_of(prohibition: &Prohibition) -> Class {
    match &prohibition.ban {
        // A prohibition is only as strong as its weakest constraint.
        Ban::Execute(_) => {
            let detect =
                |constraint: &Constraint| constraint.operand.term().class != Class::Prevent;
            if prohibition.constraints.iter().any(detect) { Class::Detect } else { Class::Prevent }
        }
        Ban::Data { asset: Asset::Inputs, .. } => Class::Detect,
        Ban::Data { asset: Asset::Outputs, .. } => Class::Record,
    }
}

fn ban(prohibition: &Prohibition) -> String {
    let Prohibition { bound, ban, constraints } = prohibition;
    match ban {
        Ban::Execute(function) => {
            let what = match function {
                Some(function) => format!("execute `{function}`"),
                None => "execute any function".to_owned(),
            };
            if constraints.is_empty() {
                return format!("The {bound} must not {what}.");
            }
            let when: Vec<_> = constraints.iter().map(sentence).collect();
            format!("The {bound} must not {what} if all of the following hold: {}", when.join(" "))
        }
        Ban::Data { verb, asset } => {
            let what = match asset {
                Asset::Inputs => "the arguments of calls",
                Asset::Outputs => "the results of calls",
            };
            let mut text =
                format!("The {bound} must not {}", verb.entry().phrase.replace("{}", what));
            for constraint in constraints {
                let _ = write!(text, " {}", sentence(constraint));
            }
            text + "."
        }
    }
}

/// A duration in words.
pub fn span(span: Span) -> String {
    const PARTS: [(u64, &str); 4] =
        [(86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    let micros = span.as_micros();
    let mut seconds = micros / 1_000_000;
    let mut words = Vec::new();
    for (size, word) in PARTS {
        let count = seconds / size;
        seconds %= size;
        if count > 0 {
            words.push(if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") });
        }
    }
    match micros % 1_000_000 {
        0 => {}
        rest if rest % 1000 == 0 => words.push(format!("{} ms", rest / 1000)),
        rest => words.push(format!("{rest} µs")),
    }
    if words.is_empty() { "0 days".to_owned() } else { words.join(" ") }
}
