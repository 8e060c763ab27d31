//! A client's JSON object, parsed by a table that says what happens to each member.
//!
//! `null` means absent. A member that would change the response and is not supported is rejected by name, as are unknown members, like in
//! OpenAI's API; none is silently ignored. No JSON tree is built: a member stays a slice of the body until it is parsed, and there are no
//! more members than in the table.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer as _, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::Problem;
use crate::api::problem::ProblemKind;

/// Maximum characters of a name or value repeated to the client.
const SHOWN_CHARS_MAX: usize = 64;

/// What happens to a member.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    /// It is read.
    Read,
    /// It does not affect responses here.
    Ignored,
    /// Rejected, unless its value is the default.
    Only(&'static [Plain]),
    /// Read. Models that export version 0.1 of their interface can honour these values only.
    Newer(&'static [Plain]),
}

/// A member's default value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Plain {
    Zero,
    One,
    False,
    /// An empty list, object or text.
    Empty,
    Text(&'static str),
    /// A list of this one text.
    List(&'static str),
    /// An object with this `type` and nothing else.
    Type(&'static str),
}

/// The permitted members of an object.
pub(super) type MemberRules = &'static [(&'static str, Rule)];

/// Why a request is rejected: the member, and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    member: Option<String>,
    detail: String,
}

impl Refusal {
    pub(super) fn of(member: &str, detail: impl Into<String>) -> Self {
        Self { member: Some(short(member)), detail: detail.into() }
    }

    /// The same about the member that contains what is wrong.
    pub(super) fn within(self, member: &str) -> Self {
        Self { member: Some(short(member)), detail: format!("`{member}`: {}", self.detail) }
    }

    fn whole(detail: impl Into<String>) -> Self {
        Self { member: None, detail: detail.into() }
    }

    /// The same for a member at `place`.
    pub(super) fn at(self, place: &str) -> Self {
        let Self { member, detail } = self;
        Self { member, detail: format!("`{place}`: {detail}") }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let problem = Problem::new(ProblemKind::InvalidRequest, refusal.detail);
        match refusal.member {
            Some(member) => problem.with("param", member),
            None => problem,
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// The members of one object.
#[derive(Debug)]
pub(super) struct Members<'b> {
    members: Vec<(&'static str, &'b RawValue)>,
    /// The first member that a model with version 0.1 of its interface cannot honour.
    newer: Option<Refusal>,
}

impl<'b> Members<'b> {
    /// Parses an object by these tables.
    pub(super) fn read(text: &'b [u8], tables: &[MemberRules]) -> Result<Self, Refusal> {
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(Refusal::whole("it is not a JSON object"));
        }
        let (mut refusal, mut newer) = (None, None);
        let mut reader = serde_json::Deserializer::from_slice(text);
        let read =
            reader.deserialize_map(Object { tables, refusal: &mut refusal, newer: &mut newer });
        match (read.and_then(|members| reader.end().map(|()| members)), refusal) {
            (_, Some(refusal)) => Err(refusal),
            (Ok(members), None) => Ok(Self { members, newer }),
            (Err(error), None) => Err(Refusal::whole(format!("it is not JSON: {error}"))),
        }
    }

    /// A member as sent.
    pub(super) fn raw(&self, name: &str) -> Option<&'b RawValue> {
        self.members.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// Why a model with version 0.1 of its interface cannot honour this object, if it cannot.
    pub(super) fn newer(&self) -> Option<Refusal> {
        self.newer.clone()
    }

    /// An optional member; `expected` describes it.
    pub(super) fn get<T: Deserialize<'b>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<Option<T>, Refusal> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        let read = serde_json::from_str(raw.get());
        read.map(Some).map_err(|_| unexpected(name, expected, raw))
    }

    /// A required member.
    pub(super) fn need<T: Deserialize<'b>>(
        &self,
        name: &str,
        expected: &str,
    ) -> Result<T, Refusal> {
        self.get(name, expected)?.ok_or_else(|| missing(name))
    }
}

pub(super) fn missing(name: &str) -> Refusal {
    Refusal::of(name, format!("`{name}` is missing"))
}

/// The error for a member of the wrong type.
pub(super) fn unexpected(name: &str, expected: &str, raw: &RawValue) -> Refusal {
    Refusal::of(name, format!("`{name}` is {expected}, not `{}`", short(raw.get())))
}

/// Visits a list's elements in order. `visit` may stop with a rejection.
pub(super) fn each<'b>(
    name: &str,
    list: &'b RawValue,
    visit: impl FnMut(usize, &'b RawValue) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let mut refusal = None;
    let mut reader = serde_json::Deserializer::from_str(list.get());
    let read = reader.deserialize_seq(List { visit, refusal: &mut refusal });
    match (read, refusal) {
        (_, Some(refusal)) => Err(refusal),
        (Ok(()), None) => Ok(()),
        (Err(_), None) => Err(unexpected(name, "a list", list)),
    }
}

/// A string or a list, which several members accept.
pub(super) fn is_list(raw: &RawValue) -> bool {
    raw.get().starts_with('[')
}

struct Object<'t, 'r> {
    tables: &'t [MemberRules],
    refusal: &'r mut Option<Refusal>,
    newer: &'r mut Option<Refusal>,
}

#[derive(Deserialize)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

impl<'b> Visitor<'b> for Object<'_, '_> {
    type Value = Vec<(&'static str, &'b RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members: Self::Value = Vec::new();
        let mut refuse = |refusal| {
            *self.refusal = Some(refusal);
            Err(A::Error::custom("refused"))
        };
        while let Some(Name(name)) = map.next_key()? {
            let value: &'b RawValue = map.next_value()?;
            if value.get() == "null" {
                continue;
            }
            let known = self.tables.iter().copied().flatten().find(|(known, _)| *known == name);
            let Some((known, rule)) = known else {
                let detail = format!("`{}` is not a parameter of this endpoint", short(&name));
                return refuse(Refusal::of(&name, detail));
            };
            if members.iter().any(|(other, _)| other == known) {
                return refuse(Refusal::of(known, format!("`{known}` is there twice")));
            }
            let is_plain = |plain: &[Plain]| plain.iter().any(|plain| plain.is(value.get()));
            match rule {
                Rule::Only(plain) if !is_plain(plain) => {
                    let detail =
                        format!("`{known}` is not supported by the models here: leave it out");
                    return refuse(Refusal::of(known, detail));
                }
                Rule::Newer(plain) if !is_plain(plain) => {
                    let detail = format!(
                        "`{known}` is not supported by this model, which exports version 0.1 of its interface: leave it out"
                    );
                    self.newer.get_or_insert(Refusal::of(known, detail));
                }
                Rule::Read | Rule::Ignored | Rule::Only(_) | Rule::Newer(_) => {}
            }
            members.push((known, value));
        }
        Ok(members)
    }
}

struct List<'r, F> {
    visit: F,
    refusal: &'r mut Option<Refusal>,
}

impl<'b, F: FnMut(usize, &'b RawValue) -> Result<(), Refusal>> Visitor<'b> for List<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'b>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(element) = list.next_element()? {
            if let Err(refusal) = (self.visit)(index, element) {
                *self.refusal = Some(refusal);
                return Err(A::Error::custom("refused"));
            }
            index += 1;
        }
        Ok(())
    }
}

impl Plain {
    fn is(self, text: &str) -> bool {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Typed<'b> {
            #[serde(borrow)]
            r#type: Cow<'b, str>,
        }
        let number = |wanted: f64| text.parse() == Ok(wanted);
        match self {
            Plain::Zero => number(0.0),
            Plain::One => number(1.0),
            Plain::False => text == "false",
            Plain::Empty => {
                let inside = |open, close| text.strip_prefix(open)?.strip_suffix(close);
                text == "\"\""
                    || inside('[', ']')
                        .or(inside('{', '}'))
                        .is_some_and(|text| text.trim().is_empty())
            }
            Plain::Text(wanted) => {
                serde_json::from_str(text).is_ok_and(|seen: String| seen == wanted)
            }
            Plain::List(wanted) => {
                serde_json::from_str(text).is_ok_and(|[seen]: [String; 1]| seen == wanted)
            }
            Plain::Type(wanted) => {
                serde_json::from_str(text).is_ok_and(|seen: Typed<'_>| seen.r#type == wanted)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: MemberRules = &[
        ("used", Rule::Read),
        ("ignored", Rule::Ignored),
        ("number", Rule::Only(&[Plain::Zero, Plain::One])),
        ("list", Rule::Only(&[Plain::Empty, Plain::List("text")])),
        ("shape", Rule::Only(&[Plain::Type("text"), Plain::Text("auto"), Plain::False])),
        ("never", Rule::Only(&[])),
    ];

    fn refused(text: &str) -> Option<String> {
        Members::read(text.as_bytes(), &[TABLE]).err().map(|refusal| refusal.detail)
    }

    #[test]
    fn null_is_as_if_nothing_had_been_said() {
        let text = r#"{"used": null, "never":null, "unknown": null, "number": null}"#;
        let members = Members::read(text.as_bytes(), &[TABLE]).expect("an object");
        assert!(members.raw("used").is_none());
        let absent: Option<u32> = members.get("used", "a number").expect("absent");
        assert_eq!(absent, None);
    }

    #[test]
    fn what_says_nothing_goes_through_and_what_changes_the_answer_does_not() {
        for good in [
            r#"{"number": 0, "list": [ ], "shape": {"type": "text"}, "ignored": {"a": [1]}}"#,
            r#"{"number": 0.0, "list": {}, "shape": "auto"}"#,
            r#"{"number": 1, "list": ["text"], "shape": false}"#,
            r#"{"list": ""}"#,
        ] {
            assert_eq!(refused(good), None, "{good}");
        }
        for (bad, name) in [
            (r#"{"number": 2}"#, "number"),
            (r#"{"list": ["text", "audio"]}"#, "list"),
            (r#"{"list": [0]}"#, "list"),
            (r#"{"list": "x"}"#, "list"),
            (r#"{"shape": {"type": "json_object"}}"#, "shape"),
            (r#"{"shape": {"type": "text", "more": 1}}"#, "shape"),
            (r#"{"shape": true}"#, "shape"),
            (r#"{"never": {}}"#, "never"),
            (r#"{"other": 1}"#, "other"),
            (r#"{"used": 1, "used": 2}"#, "used"),
        ] {
            let said = refused(bad).expect(bad);
            assert!(said.starts_with(&format!("`{name}` is ")), "{bad}: {said}");
        }
        assert!(refused("[]").is_some() && refused("{} x").is_some() && refused("{").is_some());
    }

    #[test]
    fn what_an_older_model_cannot_honour_is_noted_and_read() {
        const NEWER: MemberRules =
            &[("n", Rule::Newer(&[Plain::One])), ("tools", Rule::Newer(&[Plain::Empty]))];
        let read = |text: &'static str| {
            let members = Members::read(text.as_bytes(), &[NEWER]).expect("an object");
            (members.raw("n").is_some(), members.newer().and_then(|refusal| refusal.member))
        };
        assert_eq!(read(r#"{"n": 1, "tools": []}"#), (true, None));
        assert_eq!(read(r#"{"n": 2, "tools": [1]}"#), (true, Some("n".to_owned())));
        assert_eq!(read(r#"{"n": null, "tools": [1]}"#), (false, Some("tools".to_owned())));
    }

    #[test]
    fn lists_are_visited_and_can_be_left() {
        let list: &RawValue = serde_json::from_str("[1, 2, 3]").expect("JSON");
        let mut seen = Vec::new();
        let left = each("list", list, |index, element| {
            seen.push(element.get().to_owned());
            if index == 1 { Err(missing("x")) } else { Ok(()) }
        });
        assert_eq!((left, seen), (Err(missing("x")), vec!["1".to_owned(), "2".to_owned()]));
    }
}
