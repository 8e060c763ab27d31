//! Says what its request tells it to, by version 0.2 of the interfaces `chat` and `rerank`. The host's tests use it to check what clients
//! see, without a language model.
//!
//! The last turn, or the prompt, is the script. A JSON object says what to do: see [`Script`]. Any other text is repeated, a word a token.

use exports::hospes::plugin0_2_0::chat::{
    self, ArgumentsPiece, Chosen, EndPiece, Finish, Likely, Message, Options, Piece, Prompt,
    TextPiece, ToolPiece, Usage,
};
use exports::hospes::plugin0_2_0::rerank;
use hospes_sdk::__private::wit_bindgen::{self, StreamReader, StreamWriter};
use serde_json::{Value, json};

wit_bindgen::generate!({
    world: "hospes:parrot-next/parrot-next",
    path: [
        "../../wit/deps/wasi-nn-0.2.0-rc-2024-10-28",
        "../../wit/plugin.wit",
        "../../wit/deps/hospes-plugin-0.2.0",
        "wit",
    ],
    runtime_path: "::hospes_sdk::__private::wit_bindgen::rt",
    generate_all,
});

/// The plugin.
struct Parrot;

export!(Parrot);

/// What to say.
enum Script {
    /// The text, word by word.
    Repeat(String),
    /// `{"say": [step, …]}`, each step an object with one member: `text`, `reason`, `call` (id and name), `arguments`, `finish`, `choice`
    /// (says the rest in that answer), `fall` (panics) or `forever`.
    Say(Vec<Value>),
    /// `{"refuse": "…"}`, in these words.
    Refuse(String),
    /// `{"show": true}`: the request itself, as JSON.
    Show,
}

impl Script {
    fn of(text: &str) -> Self {
        let Ok(Value::Object(script)) = serde_json::from_str(text) else {
            return Script::Repeat(text.to_owned());
        };
        if let Some(Value::Array(steps)) = script.get("say") {
            return Script::Say(steps.clone());
        }
        match script.get("refuse") {
            Some(Value::String(words)) => Script::Refuse(words.clone()),
            Some(_) | None => Script::Show,
        }
    }
}

impl chat::Guest for Parrot {
    async fn complete(
        messages: Vec<Message>,
        options: Options,
    ) -> Result<StreamReader<Piece>, String> {
        let last = messages.last().map(|message| message.content.as_str()).unwrap_or_default();
        let script = Script::of(last);
        let shown = shown(&messages, &options);
        let prompt = messages.iter().map(|message| tokens(&message.content)).sum();
        let cached = prompt - tokens(last);
        speak(vec![script], shown, options, (prompt, cached))
    }

    async fn go_on(prompts: Vec<Prompt>, options: Options) -> Result<StreamReader<Piece>, String> {
        let texts: Vec<String> = prompts
            .into_iter()
            .map(|prompt| match prompt {
                Prompt::Text(text) => text,
                Prompt::Tokens(tokens) => {
                    tokens.iter().map(|token| format!("<{token}>")).collect::<Vec<_>>().join(" ")
                }
            })
            .collect();
        let prompt = texts.iter().map(|text| tokens(text)).sum();
        let scripts = texts.iter().map(|text| Script::of(text)).collect();
        let shown = shown(&[], &options);
        speak(scripts, shown, options, (prompt, 0))
    }

    fn count(messages: Vec<Message>, options: Options) -> Result<u32, String> {
        let words: u32 = messages.iter().map(|message| tokens(&message.content)).sum();
        Ok(words + options.tools.len() as u32)
    }
}

impl rerank::Guest for Parrot {
    /// The share of the query's words that a document has.
    fn rank(query: String, documents: Vec<String>) -> Result<rerank::Ranked, String> {
        if let Script::Refuse(words) = Script::of(&query) {
            return Err(words);
        }
        let words: Vec<&str> = query.split_whitespace().collect();
        let score = |document: &String| {
            let found = words.iter().filter(|word| document.contains(**word)).count();
            found as f32 / words.len().max(1) as f32
        };
        let tokens = documents.iter().chain([&query]).map(|text| u64::from(tokens(text))).sum();
        Ok(rerank::Ranked { scores: documents.iter().map(score).collect(), tokens })
    }
}

fn tokens(text: &str) -> u32 {
    u32::try_from(text.split_whitespace().count()).unwrap_or(u32::MAX)
}

/// Everything that was asked, as JSON.
fn shown(messages: &[Message], options: &Options) -> String {
    let messages: Vec<Value> = messages
        .iter()
        .map(|message| {
            let calls = message.tool_calls.iter();
            let calls = calls.map(|call| json!([call.id, call.name, call.arguments]));
            json!({
                "role": format!("{:?}", message.role),
                "content": message.content,
                "reasoning": message.reasoning,
                "tool-calls": calls.collect::<Vec<_>>(),
                "tool-call-id": message.tool_call_id,
                "name": message.name,
            })
        })
        .collect();
    let tools = options.tools.iter();
    let tools =
        tools.map(|tool| json!([tool.name, tool.description, tool.parameters, tool.strict]));
    json!({
        "messages": messages,
        "max-tokens": options.max_tokens,
        "temperature": options.temperature,
        "top-p": options.top_p,
        "top-k": options.top_k,
        "min-p": options.min_p,
        "frequency-penalty": options.frequency_penalty,
        "presence-penalty": options.presence_penalty,
        "stop": options.stop,
        "seed": options.seed,
        "logit-bias": options.logit_bias,
        "logprobs": options.logprobs,
        "choices": options.choices,
        "tools": tools.collect::<Vec<_>>(),
        "tool-choice": format!("{:?}", options.tool_choice),
        "parallel-tool-calls": options.parallel_tool_calls,
        "format": format!("{:?}", options.format),
        "reasoning-effort": options.reasoning_effort,
        "template-values": options.template_values,
    })
    .to_string()
}

fn speak(
    scripts: Vec<Script>,
    shown: String,
    options: Options,
    (prompt_tokens, cached_tokens): (u32, u32),
) -> Result<StreamReader<Piece>, String> {
    for script in &scripts {
        if let Script::Refuse(words) = script {
            return Err(words.clone());
        }
    }
    let (writer, reader) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        let mut speaker = Speaker { writer, options, completion: 0, reasoning: 0, left: false };
        let choices = speaker.options.choices;
        for (place, script) in (0..).zip(&scripts) {
            for choice in 0..choices {
                speaker.answer(place * choices + choice, choice, (script, &shown)).await;
            }
        }
        let usage = Usage {
            prompt_tokens,
            cached_tokens,
            completion_tokens: speaker.completion,
            reasoning_tokens: speaker.reasoning,
        };
        speaker.write(Piece::Usage(usage)).await;
    });
    Ok(reader)
}

struct Speaker {
    writer: StreamWriter<Piece>,
    options: Options,
    completion: u32,
    reasoning: u32,
    /// Whether nobody listens any longer.
    left: bool,
}

impl Speaker {
    async fn write(&mut self, piece: Piece) {
        self.left |= self.writer.write_one(piece).await.is_some();
    }

    /// One answer. Those after the first end in their number, so that they differ.
    async fn answer(&mut self, choice: u8, repetition: u8, (script, shown): (&Script, &str)) {
        let finish = match script {
            Script::Repeat(text) if repetition == 0 => self.repeat(choice, text).await,
            Script::Repeat(text) => self.repeat(choice, &format!("{text} #{repetition}")).await,
            Script::Say(steps) => match self.say(choice, steps).await {
                Some(finish) => finish,
                None => return,
            },
            Script::Show => {
                let text = self.text(choice, shown);
                self.write(Piece::Text(text)).await;
                Finish::Stop
            }
            Script::Refuse(_) => Finish::Stop,
        };
        self.write(Piece::End(EndPiece { choice, finish })).await;
    }

    /// One token per word, up to a stop word or the maximum number of tokens.
    async fn repeat(&mut self, choice: u8, text: &str) -> Finish {
        let most = self.options.max_tokens.unwrap_or(u32::MAX);
        for (place, word) in (0..).zip(text.split_whitespace()) {
            if self.options.stop.iter().any(|stop| stop == word) {
                break;
            }
            if place == most {
                return Finish::Length;
            }
            let space = if place == 0 { "" } else { " " };
            let text = self.text(choice, &format!("{space}{word}"));
            self.write(Piece::Text(text)).await;
            self.completion += 1;
            if self.left {
                break;
            }
        }
        Finish::Stop
    }

    /// `None` if the script says no end.
    async fn say(&mut self, mut choice: u8, steps: &[Value]) -> Option<Finish> {
        let (mut call, mut finish) = (0, Some(Finish::Stop));
        for step in steps {
            let text = |name: &str| step[name].as_str().map(str::to_owned);
            if let Some(text) = text("text") {
                let text = self.text(choice, &text);
                self.completion += 1;
                self.write(Piece::Text(text)).await;
            } else if let Some(text) = text("reason") {
                let text = TextPiece { choice, text, logprobs: Vec::new() };
                self.completion += 1;
                self.reasoning += 1;
                self.write(Piece::Reasoning(text)).await;
            } else if let Value::Array(named) = &step["call"] {
                let name = |place: usize| named[place].as_str().unwrap_or_default().to_owned();
                let (id, name) = (name(0), name(1));
                self.write(Piece::ToolCall(ToolPiece { choice, call, id, name })).await;
                call += 1;
                finish = Some(Finish::ToolCalls);
            } else if let Some(text) = text("arguments") {
                let call = call - 1;
                self.completion += 1;
                self.write(Piece::Arguments(ArgumentsPiece { choice, call, text })).await;
            } else if let Some(word) = text("finish") {
                finish = (word == "length").then_some(Finish::Length);
            } else if let Some(other) = step["choice"].as_u64() {
                choice = other as u8;
            } else if step["fall"] == true {
                panic!("by intent");
            } else if step["forever"] == true {
                while !self.left {
                    let text = self.text(choice, "again ");
                    self.write(Piece::Text(text)).await;
                }
            }
        }
        finish
    }

    /// A text of one token, whose log probability is minus its length, with as many others as were asked for.
    fn text(&self, choice: u8, text: &str) -> TextPiece {
        let likely = |text: String| {
            let logprob = -(text.len() as f32);
            Likely { bytes: text.clone().into_bytes(), text, logprob }
        };
        let logprobs = self.options.logprobs.map(|count| Chosen {
            token: likely(text.to_owned()),
            top: (0..count).map(|place| likely(format!("{text}{place}"))).collect(),
        });
        TextPiece { choice, text: text.to_owned(), logprobs: logprobs.into_iter().collect() }
    }
}
