//! `hospes call`: one call of a function, as `curl` would make it, with its receipt.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Map, Value, json};

use super::Context;
use super::client::{self, Payload, Post, Reply};
use super::document::Force;
use super::failure::{During as _, Failure};
use super::receipt;
use super::screen::{Answer, printable};
use hospes_core::id::{Digest, FunctionName, ModelName};

/// Largest input read from a file or stdin, in bytes.
const INPUT_BYTES_MAX: u64 = 256 << 20;

/// Call a function.
///
/// Give the arguments as one `--arg name=value` per parameter, as one JSON object, or, for a function that takes bytes, as a
/// file. The result goes to stdout, the receipt's identifier and the number of calls left to stderr. `--receipt FILE` saves the
/// receipt with its salt, which only you get. With the salt you can later prove what was sent and what came back.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes call acme/hello/greet --arg name=Zoe\n  hospes call acme/filetype/identify --file picture.png --receipt call.receipt\n  \
    hospes receipt verify call.receipt --host-party did:key:… --input picture.png"
)]
pub struct Call {
    /// `publisher/model/function`, or `publisher/model@version/function`.
    target: Target,
    #[command(flatten)]
    input: Input,
    /// The agreement to call under [default: the host picks one of yours].
    #[arg(long, value_name = "ID")]
    agreement: Option<Digest>,
    /// The purpose of the call, as an IRI; the plugin can read it.
    #[arg(long, value_name = "IRI")]
    purpose: Option<String>,
    /// Save the receipt and its salt to a file.
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Request the result as plain bytes, for a function that returns bytes.
    #[arg(long)]
    bytes: bool,
    /// Write the result to a file instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

#[derive(Debug, Args)]
#[group(multiple = false)]
struct Input {
    /// All arguments as one JSON object.
    #[arg(long, value_name = "JSON")]
    json_args: Option<String>,
    /// Send a file's bytes; `-` is stdin.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// One argument; a value that is not JSON is taken as text.
    #[arg(long = "arg", value_name = "NAME=VALUE")]
    args: Vec<String>,
}

/// What is called.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    model: ModelName,
    /// A version or an alias.
    reference: Option<String>,
    function: FunctionName,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a function: write it as `publisher/model/function` or `publisher/model@version/function`"
)]
struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let read = || {
            let (model, function) = text.rsplit_once('/')?;
            let (model, reference) = match model.split_once('@') {
                Some((model, reference)) => (model, Some(reference)),
                None => (model, None),
            };
            let reference_ok = reference.is_none_or(|reference| {
                let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+');
                !reference.is_empty() && reference.bytes().all(allowed)
            });
            let model = model.parse().ok().filter(|_| reference_ok)?;
            let reference = reference.map(str::to_owned);
            Some(Self { model, reference, function: function.parse().ok()? })
        };
        read().ok_or_else(|| TargetError(text.into()))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reference {
            Some(reference) => write!(f, "{}@{reference}/{}", self.model, self.function),
            None => write!(f, "{}/{}", self.model, self.function),
        }
    }
}

impl Input {
    /// The request's body and its type.
    fn read(self) -> Result<(Vec<u8>, &'static str), Failure> {
        const JSON: &str = "application/json";
        if let Some(file) = self.file {
            return Ok((read_input(&file)?, "application/octet-stream"));
        }
        if let Some(text) = self.json_args {
            let _: Value =
                serde_json::from_str(&text).during(|| "`--json-args` is not JSON".into())?;
            return Ok((text.into_bytes(), JSON));
        }
        Ok((Value::Object(arguments(&self.args)?).to_string().into_bytes(), JSON))
    }
}

impl Call {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let client = context.client()?;
        // Check this before the call is made and counted.
        for path in self.receipt.iter().chain(&self.output) {
            self.force.check(path)?;
        }
        let (body, content_type) = self.input.read()?;
        let mut headers = Vec::new();
        if self.bytes {
            headers.push(("accept", "application/octet-stream".to_owned()));
        }
        if let Some(agreement) = &self.agreement {
            headers.push(("hospes-agreement", agreement.to_string()));
        }
        if let Some(purpose) = self.purpose {
            headers.push(("hospes-purpose", purpose));
        }
        let progress = context.screen.spinner(&format!("calling {}", self.target));
        let post = Post { content_type, headers, body: Payload::Bytes(body) };
        let reply = client.post(&format!("/{}", self.target), post)?;
        drop(progress);
        let call = reply.header(client::RECEIPT).map(printable);
        note(context, &reply, call.as_deref());
        if let Some(path) = &self.output {
            self.force.write(path, &reply.body)?;
        }
        // Fetch it after the result is safe: a receipt can be fetched later too.
        if let Some(path) = &self.receipt {
            let call = call
                .as_deref()
                .ok_or_else(|| Failure::new("the host's response names no receipt"))?;
            let salt = reply.header("hospes-salt");
            let party = receipt::save(&client, call, salt, (path, self.force)).or_fix(|| {
                let later = format!("hospes receipt fetch {call} -o FILE");
                format!("the call was made and counted; fetch its receipt later with `{later}`")
            })?;
            context.screen.note(&format!(
                "saved receipt; check it with `hospes receipt verify {} --host-party {party}`",
                path.display()
            ));
        }
        Ok(answer(context, &reply, self.output.as_deref()))
    }
}

/// Notes the call's receipt and the calls left.
fn note(context: &Context, reply: &Reply, call: Option<&str>) {
    if let Some(call) = call {
        context.screen.note(&format!("receipt {call}"));
    }
    if let Some(remaining) = reply.header("hospes-remaining") {
        context.screen.note(&format!("calls left {}", printable(remaining)));
    }
}

fn answer(context: &Context, reply: &Reply, output: Option<&Path>) -> Answer {
    let is_json =
        reply.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if context.screen.is_json() {
        let result = match (output, is_json) {
            (None, true) => serde_json::from_slice(&reply.body).unwrap_or(Value::Null),
            (Some(_), _) | (None, false) => Value::Null,
        };
        let base64 = (output.is_none() && !is_json).then(|| STANDARD.encode(&reply.body));
        let remaining = reply.header("hospes-remaining").and_then(|text| text.parse::<u64>().ok());
        let json = json!({
            "result": result,
            "result_base64": base64,
            "result_bytes": reply.body.len(),
            "file": output.map(|path| path.display().to_string()),
            "receipt": reply.header(client::RECEIPT),
            "salt": reply.header("hospes-salt"),
            "remaining": remaining,
            "server_timing": reply.header("server-timing"),
        });
        return Answer::new(String::new(), json);
    }
    match (output, is_json) {
        (Some(path), _) => Answer::new(
            format!("wrote {} bytes to {}", reply.body.len(), path.display()),
            Value::Null,
        ),
        (None, true) => Answer::new(String::from_utf8_lossy(&reply.body), Value::Null),
        (None, false) => Answer::Bytes(reply.body.clone()),
    }
}

/// `name=value` arguments as an object.
fn arguments(args: &[String]) -> Result<Map<String, Value>, Failure> {
    let mut object = Map::new();
    for arg in args {
        let (name, value) =
            arg.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(|| {
                Failure::new(format!("`{arg}` is not an argument"))
                    .fix("write it as `--arg name=value`")
            })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.into()));
        if object.insert(name.into(), value).is_some() {
            return Err(Failure::new(format!("argument `{name}` is given twice")));
        }
    }
    Ok(object)
}

/// Reads a payload; `-` is stdin.
///
/// # Errors
/// If it cannot be read or is too large.
pub fn read_input(path: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error| Failure::file("read", path, &error);
    let mut bytes = Vec::new();
    let mut take =
        |reader: &mut dyn io::Read| reader.take(INPUT_BYTES_MAX + 1).read_to_end(&mut bytes);
    if path == Path::new("-") {
        take(&mut io::stdin().lock()).map_err(failed)?;
    } else {
        take(&mut fs::File::open(path).map_err(failed)?).map_err(failed)?;
    }
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(Failure::new(format!(
            "`{}` is larger than {INPUT_BYTES_MAX} bytes",
            path.display()
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_name_a_function_and_perhaps_a_version() {
        for good in ["acme/iris/infer", "acme/iris@1.0.0-rc.1/infer", "acme/iris@champion/infer"] {
            assert_eq!(good.parse::<Target>().expect("a target").to_string(), good);
        }
        for bad in [
            "",
            "iris",
            "acme/iris",
            "acme/iris@/infer",
            "acme/iris@1/../infer",
            "acme/iris@1?x/infer",
            "/a/b/c",
            "acme/iris/infer?x",
        ] {
            assert!(bad.parse::<Target>().is_err(), "{bad}");
        }
    }

    #[test]
    fn arguments_are_json_or_else_text() {
        let args =
            ["n=3", "text=two words", "list=[1,2]", "quoted=\"3\"", "empty="].map(String::from);
        let object = Value::Object(arguments(&args).expect("arguments"));
        assert_eq!(
            object,
            json!({"n": 3, "text": "two words", "list": [1, 2], "quoted": "3", "empty": ""})
        );
        for bad in [&["novalue".to_owned()][..], &["=x".to_owned()], &["a=1".into(), "a=2".into()]]
        {
            assert!(arguments(bad).is_err(), "{bad:?}");
        }
    }
}
