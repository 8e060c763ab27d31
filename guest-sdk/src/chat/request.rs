//! What a request asks for, as the engine understands it.

use serde_json::{Value as Json, json};

use super::{Assistant, Format, Options, Refusal, Tool, ToolChoice, ToolFormat};
use crate::language::{Grammar, Sampling, Until};

/// Answers to one request.
const CHOICES_MAX: u8 = 8;

/// The tools that an answer may call.
#[derive(Default)]
pub(super) struct Tools {
    pub(super) list: Vec<Tool>,
    format: Option<ToolFormat>,
    /// The format, if the answer has to be a call.
    pub(super) forced: Option<ToolFormat>,
}

impl Tools {
    pub(super) fn of(options: &Options, format: Option<ToolFormat>) -> Result<Self, Refusal> {
        if options.tools.is_empty() || matches!(options.tool_choice, ToolChoice::None) {
            return match options.tool_choice {
                ToolChoice::Required | ToolChoice::Named(_) => {
                    Err(Refusal::invalid("there are no tools to choose from", Some("tool_choice")))
                }
                ToolChoice::Auto | ToolChoice::None => Ok(Self::default()),
            };
        }
        let format = format.ok_or_else(|| {
            Refusal::unsupported("this model calls no tools: leave `tools` out", Some("tools"))
        })?;
        let mut list = options.tools.clone();
        let forced = match &options.tool_choice {
            ToolChoice::Auto | ToolChoice::None => None,
            ToolChoice::Required => Some(format),
            ToolChoice::Named(name) => {
                list.retain(|tool| tool.name == *name);
                if list.is_empty() {
                    let why = format!("no tool is called `{name}`");
                    return Err(Refusal::invalid(why, Some("tool_choice")));
                }
                Some(format)
            }
        };
        let tools = Self { list, format: Some(format), forced };
        tools.with_parameters()?;
        Ok(tools)
    }

    pub(super) fn format(&self) -> Option<ToolFormat> {
        self.format
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.list.iter().map(|tool| tool.name.clone()).collect()
    }

    /// Names and the schemas of arguments.
    fn with_parameters(&self) -> Result<Vec<(String, Json)>, Refusal> {
        let tools = self.list.iter().map(|tool| match tool.parameters.as_deref() {
            None => Ok((tool.name.clone(), json!({ "type": "object" }))),
            Some(schema) => match serde_json::from_str::<Json>(schema) {
                Ok(schema @ Json::Object(_)) => Ok((tool.name.clone(), schema)),
                _ => {
                    let why = format!("the parameters of `{}` are no JSON Schema", tool.name);
                    Err(Refusal::invalid(why, Some("tools")))
                }
            },
        });
        tools.collect()
    }

    /// The tools as OpenAI's API describes them, which templates expect.
    pub(super) fn described(&self) -> Vec<Json> {
        let tools = self.with_parameters().unwrap_or_default();
        let tools = tools.into_iter().zip(&self.list).map(|((name, parameters), tool)| {
            let mut function = serde_json::Map::new();
            function.insert("name".to_owned(), Json::String(name));
            if let Some(description) = &tool.description {
                function.insert("description".to_owned(), Json::String(description.clone()));
            }
            function.insert("parameters".to_owned(), parameters);
            json!({ "type": "function", "function": function })
        });
        tools.collect()
    }
}

/// What the answer must match, and the request's member that asks for it.
pub(super) fn grammar(
    options: &Options,
    tools: &Tools,
) -> Result<(Option<Grammar>, &'static str), Refusal> {
    let schema = match &options.format {
        Format::Text => None,
        Format::Json => Some(json!({ "type": "object" })),
        Format::JsonSchema(asked) => {
            Some(serde_json::from_str(&asked.schema).map_err(|error| {
                let why = format!("`{}` is not JSON: {error}", asked.name);
                Refusal::invalid(why, Some("response_format"))
            })?)
        }
    };
    if let Some(format) = tools.forced {
        let schema = format.schema(&tools.with_parameters()?);
        return Ok((Some(Grammar::JsonSchema(schema.to_string())), "tools"));
    }
    const ANSWER: &str = "response_format";
    match (&options.format, schema, tools.format) {
        (_, None, _) => Ok((None, ANSWER)),
        (Format::Json, Some(_), None) => Ok((Some(Grammar::Json), ANSWER)),
        (_, Some(schema), None) => Ok((Some(Grammar::JsonSchema(schema.to_string())), ANSWER)),
        // Either calls or an answer in the format.
        (_, Some(schema), Some(format @ ToolFormat::Hermes)) => {
            let call = format.schema(&tools.with_parameters()?);
            let lark = format!(
                "start: calls | answer\n\
                 calls: call (\"\\n\" call)*\n\
                 call: \"<tool_call>\\n\" arguments \"\\n</tool_call>\"\n\
                 arguments: %json {call}\n\
                 answer: %json {schema}\n"
            );
            Ok((Some(Grammar::Lark(lark)), ANSWER))
        }
        (_, Some(_), Some(ToolFormat::Llama | ToolFormat::Mistral)) => Err(Refusal::unsupported(
            "this model cannot choose between tools and a format: leave one of them out",
            Some(ANSWER),
        )),
    }
}

/// How many answers.
pub(super) fn choices(options: &Options) -> Result<u8, Refusal> {
    let choices = options.choices.max(1);
    if choices > CHOICES_MAX {
        let why = format!("{choices} answers, more than the {CHOICES_MAX} of one request");
        return Err(Refusal::invalid(why, Some("n")));
    }
    Ok(choices)
}

/// How the tokens of answer number `choice` are chosen.
pub(super) fn sampling<A: Assistant>(
    options: &Options,
    grammar: Option<Grammar>,
    choice: u8,
) -> Sampling {
    let default = A::sampling();
    // Equal seeds would give equal answers.
    let seed = options.seed.map(|seed| (seed as u64).wrapping_add(choice.into()));
    Sampling {
        temperature: options.temperature.unwrap_or(default.temperature),
        top_k: options.top_k.unwrap_or(default.top_k),
        top_p: options.top_p.unwrap_or(default.top_p),
        min_p: options.min_p.unwrap_or(default.min_p),
        repeat: default.repeat,
        frequency: options.frequency_penalty.unwrap_or(default.frequency),
        presence: options.presence_penalty.unwrap_or(default.presence),
        seed: seed.or(default.seed),
        bias: if options.logit_bias.is_empty() { default.bias } else { options.logit_bias.clone() },
        grammar,
        logprobs: options.logprobs,
    }
}

/// Where an answer ends.
pub(super) fn until(options: &Options) -> Until {
    Until {
        max_tokens: options.max_tokens.unwrap_or(u32::MAX),
        stop: options.stop.clone(),
        stop_tokens: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
