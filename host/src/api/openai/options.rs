//! How a model should go on: the members that several endpoints share.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::value::RawValue;

use super::asked::Options;
use super::members::{
    MemberRules, Members, Plain, Refusal, Rule, each, is_list, missing, unexpected,
};

/// Maximum stop sequences, answers and alternatives of a token, as in OpenAI's API.
const STOPS_MAX: usize = 4;
const CHOICES_MAX: u8 = 8;
pub(super) const ALTERNATIVES_MAX: u8 = 20;

/// Maximum tokens with a bias.
const BIASES_MAX: usize = 1024;

/// Maximum length of a level of reasoning, in bytes.
const EFFORT_BYTES_MAX: usize = 32;

/// Common to `/v1/chat/completions` and `/v1/completions`.
pub(super) const COMMON: MemberRules = &[
    ("model", Rule::Read),
    ("stream", Rule::Read),
    ("stream_options", Rule::Read),
    ("max_tokens", Rule::Read),
    ("max_completion_tokens", Rule::Read),
    ("temperature", Rule::Read),
    ("top_p", Rule::Read),
    ("stop", Rule::Read),
    ("seed", Rule::Read),
    ("n", Rule::Newer(&[Plain::One])),
    ("frequency_penalty", Rule::Newer(&[Plain::Zero])),
    ("presence_penalty", Rule::Newer(&[Plain::Zero])),
    ("logit_bias", Rule::Newer(&[Plain::Empty])),
    // Not in OpenAI's API.
    ("top_k", Rule::Newer(&[])),
    ("min_p", Rule::Newer(&[])),
    // Nothing is stored, so nothing can be retrieved later.
    ("store", Rule::Only(&[Plain::False])),
    ("user", Rule::Ignored),
    ("metadata", Rule::Ignored),
    ("service_tier", Rule::Ignored),
    ("safety_identifier", Rule::Ignored),
    ("prompt_cache_key", Rule::Ignored),
    ("prompt_cache_retention", Rule::Ignored),
];

const STREAM_OPTIONS: MemberRules =
    &[("include_usage", Rule::Read), ("include_obfuscation", Rule::Ignored)];

/// The options of [`COMMON`]. The rest are the default.
pub(super) fn common(members: &Members<'_>) -> Result<Options, Refusal> {
    let tokens_max = match most(members, "max_completion_tokens")? {
        Some(tokens) => Some(tokens),
        None => most(members, "max_tokens")?,
    };
    Ok(Options {
        tokens_max,
        temperature: number(members, "temperature", 0.0..=2.0)?,
        top_p: number(members, "top_p", 0.0..=1.0)?,
        top_k: members.get("top_k", "a number of tokens")?,
        min_p: number(members, "min_p", 0.0..=1.0)?,
        frequency_penalty: number(members, "frequency_penalty", -2.0..=2.0)?,
        presence_penalty: number(members, "presence_penalty", -2.0..=2.0)?,
        stop: stops(members)?,
        seed: members.get("seed", "a whole number")?,
        logit_bias: biases(members)?,
        choices: choices(members)?,
        ..Options::default()
    })
}

/// Whether the response is streamed, and whether its last event reports the usage.
pub(super) fn streaming(members: &Members<'_>) -> Result<(bool, bool), Refusal> {
    let include_usage = match members.raw("stream_options") {
        None => None,
        Some(options) => Members::read(options.get().as_bytes(), &[STREAM_OPTIONS])
            .and_then(|options| options.get("include_usage", "true or false"))
            .map_err(|refusal| refusal.at("/stream_options"))?,
    };
    let stream: Option<bool> = members.get("stream", "true or false")?;
    Ok((stream.unwrap_or(false), include_usage.unwrap_or(false)))
}

/// A number in this range.
pub(super) fn number(
    members: &Members<'_>,
    name: &str,
    range: RangeInclusive<f32>,
) -> Result<Option<f32>, Refusal> {
    let Some(number) = members.get::<f32>(name, "a number")? else { return Ok(None) };
    if range.contains(&number) {
        return Ok(Some(number));
    }
    let (least, most) = range.into_inner();
    Err(Refusal::of(name, format!("`{name}` is a number from {least} to {most}, not `{number}`")))
}

fn choices(members: &Members<'_>) -> Result<u8, Refusal> {
    let expected = format!("a number of answers from 1 to {CHOICES_MAX}");
    let Some(raw) = members.raw("n") else { return Ok(1) };
    match serde_json::from_str(raw.get()) {
        Ok(number @ 1..=CHOICES_MAX) => Ok(number),
        Ok(_) | Err(_) => Err(unexpected("n", &expected, raw)),
    }
}

/// Maximum tokens of the response; `None` for the model's maximum, which some clients write as -1.
pub(super) fn most(members: &Members<'_>, name: &str) -> Result<Option<u32>, Refusal> {
    let expected = "a number of tokens, or -1 for no limit";
    let Some(number) = members.get::<i64>(name, expected)? else { return Ok(None) };
    match u32::try_from(number) {
        Ok(number) => Ok(Some(number)),
        Err(_) if number == -1 => Ok(None),
        Err(_) => Err(Refusal::of(name, format!("`{name}` is {expected}, not `{number}`"))),
    }
}

/// The number of alternatives that are reported for each token.
pub(super) fn alternatives(members: &Members<'_>) -> Result<Option<u8>, Refusal> {
    let expected = format!("a number of tokens from 0 to {ALTERNATIVES_MAX}");
    let Some(raw) = members.raw("top_logprobs") else { return Ok(None) };
    match serde_json::from_str(raw.get()) {
        Ok(number @ 0..=ALTERNATIVES_MAX) => Ok(Some(number)),
        Ok(_) | Err(_) => Err(unexpected("top_logprobs", &expected, raw)),
    }
}

/// The level of reasoning, a word such as `low`. Models say which they know.
pub(super) fn effort(members: &Members<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let expected = "a word, such as `low`";
    let Some(effort) = members.get::<String>(name, expected)? else { return Ok(None) };
    let is_word = (1..=EFFORT_BYTES_MAX).contains(&effort.len())
        && effort.bytes().all(|byte| byte.is_ascii_lowercase());
    if is_word {
        Ok(Some(effort))
    } else {
        Err(Refusal::of(name, format!("`{name}` is {expected}")))
    }
}

/// A JSON object, as it was sent.
pub(super) fn object(members: &Members<'_>, name: &str) -> Result<Option<String>, Refusal> {
    let Some(raw) = members.raw(name) else { return Ok(None) };
    match raw.get().starts_with('{') {
        true => Ok(Some(raw.get().to_owned())),
        false => Err(unexpected(name, "a JSON object", raw)),
    }
}

/// The stop sequences.
fn stops(members: &Members<'_>) -> Result<Vec<String>, Refusal> {
    let Some(stop) = members.raw("stop") else { return Ok(Vec::new()) };
    let read = |raw: &RawValue| {
        let read: Result<String, _> = serde_json::from_str(raw.get());
        read.map_err(|_| unexpected("stop", "a text or a list of texts", raw))
    };
    let mut texts = Vec::new();
    if is_list(stop) {
        each("stop", stop, |index, element| {
            if index == STOPS_MAX {
                let detail = format!("`stop` has more than {STOPS_MAX} texts");
                return Err(Refusal::of("stop", detail));
            }
            texts.push(read(element)?);
            Ok(())
        })?;
    } else {
        texts.push(read(stop)?);
    }
    Ok(texts)
}

/// What is added to the logits of tokens.
fn biases(members: &Members<'_>) -> Result<Vec<(u32, f32)>, Refusal> {
    let expected = "an object of numbers from -100 to 100, by token ids";
    let wrong = || Refusal::of("logit_bias", format!("`logit_bias` is {expected}"));
    let Some(raw) = members.raw("logit_bias") else { return Ok(Vec::new()) };
    // Some clients send an empty list.
    if is_list(raw) && raw.get()[1..].trim_start().starts_with(']') {
        return Ok(Vec::new());
    }
    let biases: BTreeMap<u32, f32> = members.get("logit_bias", expected)?.ok_or_else(wrong)?;
    if biases.len() > BIASES_MAX {
        let detail = format!("`logit_bias` has {} tokens, it can have {BIASES_MAX}", biases.len());
        return Err(Refusal::of("logit_bias", detail));
    }
    match biases.values().all(|bias| (-100.0..=100.0).contains(bias)) {
        true => Ok(biases.into_iter().collect()),
        false => Err(wrong()),
    }
}

/// The members of a nested object, with refusals that name the member `name` which contains it.
pub(super) fn nested<'b>(
    members: &Members<'b>,
    name: &str,
    table: MemberRules,
) -> Result<Members<'b>, Refusal> {
    let raw = members.raw(name).ok_or_else(|| missing(name))?;
    Members::read(raw.get().as_bytes(), &[table]).map_err(|refusal| refusal.within(name))
}
