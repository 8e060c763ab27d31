//! Clauses as short lines of text for command lines and templates: `count lteq 100 call`.
//!
//! | line | meaning |
//! |---|---|
//! | `OPERAND OPERATOR VALUE [UNIT]` | a constraint or an output control of every permission; lists are separated by commas |
//! | `price AMOUNT CURRENCY per UNIT [free N]` | what every permission costs |
//! | `prohibit execute [FUNCTION] [where CONSTRAINT [and CONSTRAINT]]` | a prohibition |
//! | `prohibit ACTION inputs\|outputs [where CONSTRAINT]` | a prohibition on data |
//! | `oblige publisher\|consumer ACTION` | an obligation |
//! | `grant-use DEPTH`, `notice DURATION`, `max-stale DURATION`, `on-suspend finish\|abort` | terms of the whole document |
//!
//! Units, currencies, countries and actions may be abbreviated to their last word. A date may be a span from now, `+P30D`.

use jiff::Timestamp;

use crate::Role;
use crate::document::clause::{
    Asset, Ban, Constraint, Obligation, Permission, Price, Prohibition, Unit,
};
use crate::document::value::{Micros, RightOperand, Span};
use crate::document::{Clauses, OnSuspend};
use crate::registry::{
    ACTIONS, COUNTRY_PREFIX, CURRENCY_PREFIX, Datatype, Operand, Operator, RuleKind, TERMS, Term,
    TermPlace, Text, Units, Verb,
};

/// Why a line is not a clause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{line}` is not a clause: {reason}")]
pub struct PhraseError {
    pub line: String,
    pub reason: String,
}

impl Clauses {
    /// Adds the clause of a line. Spans count from `now`.
    ///
    /// # Errors
    /// [`PhraseError`]; nothing is changed.
    pub fn add_line(&mut self, line: &str, now: Timestamp) -> Result<(), PhraseError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.add_words(&words, now).map_err(|reason| PhraseError { line: line.to_owned(), reason })
    }

    /// Adds the clause of a line. A constraint replaces those that limit the same thing.
    ///
    /// # Errors
    /// [`PhraseError`]; nothing is changed.
    pub fn replace_line(&mut self, line: &str, now: Timestamp) -> Result<(), PhraseError> {
        let mut changed = self.clone();
        changed.add_line(line, now)?;
        for permission in &mut changed.permissions {
            permission.keep_last();
        }
        *self = changed;
        Ok(())
    }

    fn add_words(&mut self, words: &[&str], now: Timestamp) -> Result<(), String> {
        let span = |text: &str| text.parse::<Span>().map_err(str::to_owned);
        match words {
            ["price", amount, currency, "per", unit, rest @ ..] => {
                let price = price(amount, currency, unit, rest)?;
                self.permissions
                    .iter_mut()
                    .for_each(|permission| permission.price = Some(price.clone()));
            }
            ["prohibit", rest @ ..] => self.prohibitions.push(prohibition(rest, now)?),
            ["oblige", bound, verb] => {
                let verb = action(verb, RuleKind::Obligation)?;
                self.obligations.push(Obligation { bound: role(bound)?, verb });
            }
            ["grant-use", depth] => {
                self.depth =
                    Some(depth.parse().map_err(|_| "expected a depth of 1 to 8".to_owned())?);
            }
            ["notice", text] => self.notice = span(text)?,
            ["max-stale", text] => self.max_stale = Some(span(text)?),
            ["on-suspend", "finish"] => self.on_suspend = OnSuspend::Finish,
            ["on-suspend", "abort"] => self.on_suspend = OnSuspend::Abort,
            _ => {
                let constraint = constraint(words, now)?;
                let place = constraint.operand.term().place;
                if !matches!(place, TermPlace::Action | TermPlace::Permission | TermPlace::Rule) {
                    return Err(format!("it can only be a {}", place.name()));
                }
                for permission in &mut self.permissions {
                    *permission = permission.clone().with(constraint.clone());
                }
            }
        }
        Ok(())
    }
}

impl Permission {
    /// Adds a constraint or output control, such as `count lteq 100 call`. Spans count from `now`.
    ///
    /// # Errors
    /// [`PhraseError`].
    pub fn limited(self, line: &str, now: Timestamp) -> Result<Self, PhraseError> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let constraint = constraint(&words, now);
        let constraint =
            constraint.map_err(|reason| PhraseError { line: line.to_owned(), reason })?;
        Ok(self.with(constraint))
    }
}

fn price(amount: &str, code: &str, unit: &str, rest: &[&str]) -> Result<Price, String> {
    let free = match rest {
        [] => None,
        ["free", units] => {
            Some(units.parse().map_err(|_| "`free` needs a whole number".to_owned())?)
        }
        _ => return Err("after the unit only `free N` is allowed".to_owned()),
    };
    Ok(Price {
        amount: amount.parse::<Micros>()?,
        currency: currency(code),
        unit: unit_named(unit)?,
        free,
    })
}

fn prohibition(words: &[&str], now: Timestamp) -> Result<Prohibition, String> {
    let at = words.iter().position(|word| *word == "where").unwrap_or(words.len());
    let (what, rest) = words.split_at(at);
    let constraints = match rest.split_first() {
        None => Vec::new(),
        Some((_, conditions)) => conditions
            .split(|word| *word == "and")
            .map(|words| constraint(words, now))
            .collect::<Result<_, _>>()?,
    };
    let (bound, ban) = match what {
        ["execute"] => (Role::Consumer, Ban::Execute(None)),
        ["execute", function] => {
            let function =
                function.parse().map_err(|_| format!("`{function}` is not a function's name"))?;
            (Role::Consumer, Ban::Execute(Some(function)))
        }
        [verb, asset] => {
            let asset = match *asset {
                "inputs" => Asset::Inputs,
                "outputs" => Asset::Outputs,
                other => return Err(format!("`{other}` is neither `inputs` nor `outputs`")),
            };
            (asset.bound(), Ban::Data { verb: action(verb, RuleKind::Data)?, asset })
        }
        _ => return Err("write `prohibit execute …` or `prohibit ai-training inputs`".to_owned()),
    };
    Ok(Prohibition { bound, ban, constraints })
}

/// `OPERAND OPERATOR VALUE [UNIT]`.
fn constraint(words: &[&str], now: Timestamp) -> Result<Constraint, String> {
    let [left, operator, rest @ ..] = words else {
        return Err("write `OPERAND OPERATOR VALUE`, such as `count lteq 100 call`".to_owned());
    };
    let term = term(left)?;
    let operator = Operator::named(operator).ok_or_else(|| {
        let known: Vec<_> = term.forms.iter().map(|(operator, _)| operator.name()).collect();
        format!("`{operator}` is not an operator; `{}` takes {}", term.name, known.join(", "))
    })?;
    let (value, unit) = match (term.units, rest) {
        // A time window has two words.
        (Units::None, words) => (words.join(" "), None),
        (_, [value, unit]) => ((*value).to_owned(), Some(unit_text(term.units, unit)?)),
        (Units::OneOf([only]), [value]) => ((*value).to_owned(), Some(Box::from(*only))),
        (_, _) => return Err(format!("`{}` needs a value and a unit", term.name)),
    };
    let value = value_of(term, &value, now)?;
    Constraint::new(term.operand, operator, value, unit, "").map_err(|error| error.to_string())
}

fn term(name: &str) -> Result<&'static Term, String> {
    let known = TERMS
        .iter()
        .find(|term| term.name == name || term.name.strip_prefix("hospes:") == Some(name));
    known.ok_or_else(|| format!("there is no operand `{name}`; see `hospes profile terms`"))
}

fn value_of(term: &Term, text: &str, now: Timestamp) -> Result<RightOperand, String> {
    let integer =
        |text: &str| text.parse::<u64>().map_err(|_| format!("`{text}` is not a whole number"));
    let full = |kind: Text, word: &str| match kind {
        Text::Country if !word.contains(':') => format!("{COUNTRY_PREFIX}{word}").into(),
        _ => Box::from(word),
    };
    Ok(match term.datatype {
        Datatype::Integer(..) => RightOperand::Integer(integer(text)?),
        Datatype::Decimal => RightOperand::Decimal(text.parse::<Micros>()?),
        Datatype::DateTime => RightOperand::DateTime(moment(text, now)?),
        Datatype::Duration => RightOperand::Duration(text.parse::<Span>()?),
        Datatype::Text(_) => RightOperand::Text(text.into()),
        Datatype::Texts(kind) => {
            let mut texts: Vec<Box<str>> = text
                .split([',', ' '])
                .filter(|word| !word.is_empty())
                .map(|word| full(kind, word))
                .collect();
            texts.sort();
            texts.dedup();
            RightOperand::Texts(texts.into())
        }
        Datatype::Integers => {
            let sizes: Result<Vec<u64>, String> =
                text.split([',', ' ']).filter(|word| !word.is_empty()).map(integer).collect();
            RightOperand::Integers(sizes?.into())
        }
        Datatype::True if text == "true" => RightOperand::True,
        Datatype::True => return Err("only `true` is allowed here".to_owned()),
    })
}

fn moment(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || {
        format!("`{text}` is not a date; write `2027-01-31T00:00:00Z` or a span from now, `+P30D`")
    };
    match text.strip_prefix('+') {
        None => text.parse().map_err(|_| wrong()),
        Some(span) => {
            let span: Span = span.parse().map_err(|_| wrong())?;
            // To the second: people do not agree on microseconds.
            let now = Timestamp::from_second(now.as_second()).map_err(|_| wrong())?;
            now.checked_add(span.as_duration()).map_err(|_| wrong())
        }
    }
}

fn unit_text(units: Units, text: &str) -> Result<Box<str>, String> {
    match units {
        Units::OneOf(_) => unit_named(text).map(|unit| unit.iri().into()),
        Units::Currency => Ok(currency(text)),
        Units::Period | Units::None => Ok(text.into()),
    }
}

fn unit_named(text: &str) -> Result<Unit, String> {
    let found = Unit::ALL
        .into_iter()
        .find(|unit| unit.iri() == text || unit.word() == text.trim_end_matches('s'));
    found.ok_or_else(|| format!("`{text}` is not a unit; the units are call, row, byte and token"))
}

fn currency(code: &str) -> Box<str> {
    if code.contains(':') { code.into() } else { format!("{CURRENCY_PREFIX}{code}").into() }
}

fn action(name: &str, rule: RuleKind) -> Result<Verb, String> {
    let full = format!("odrl:{name}");
    Verb::named(&full, rule).or_else(|| Verb::named(name, rule)).ok_or_else(|| {
        let known = ACTIONS.iter().filter(|action| action.rule == rule);
        let known: Vec<_> = known.map(|action| action.name.trim_start_matches("odrl:")).collect();
        format!("`{name}` is not an action; the actions are {}", known.join(", "))
    })
}

fn role(name: &str) -> Result<Role, String> {
    match name {
        "publisher" => Ok(Role::Publisher),
        "consumer" => Ok(Role::Consumer),
        other => Err(format!("`{other}` is neither `publisher` nor `consumer`")),
    }
}

/// The operand that a line begins with, if it is a constraint.
pub(super) fn operand_of(line: &str) -> Option<Operand> {
    term(line.split_whitespace().next()?).ok().map(|term| term.operand)
}
