//! Every command that a fix, an example, the README or the reference names is one that the command line takes.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use hospes_cli::problem::{self, Asked};

use super::*;

/// What stands for something else in a command that is shown, and a value of that kind.
const PLACEHOLDERS: [(&str, &str); 17] = [
    ("sha256:…", "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ("did:key:z6Mk…", "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
    ("did:key:…", "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
    ("urn:uuid:…", "urn:uuid:019ab6b4-0000-7000-8000-000000000000"),
    ("{party}", "did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp"),
    ("{call}", "019ab6b4-0000-7000-8000-000000000000"),
    ("{id}", "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ("{model}", "acme/iris"),
    ("{name}", "acme"),
    ("{}", "acme"),
    ("OFFER", "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
    ("NAME", "acme"),
    ("FILE", "iris.wasm"),
    ("DIR", "data"),
    ("URL", "http://127.0.0.1:8080"),
    ("COMMAND", "market"),
    ("FUNCTION", "infer"),
];

/// Every file whose text may name a command.
fn texts() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["src", "crates/cli/src", "docs", "../README.md"];
    let mut found: Vec<PathBuf> = places.iter().map(|place| root.join(place)).collect();
    let mut texts = Vec::new();
    while let Some(path) = found.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("readable");
            found.extend(entries.map(|entry| entry.expect("readable").path()));
        } else if path.extension().is_some_and(|end| end == "rs" || end == "md")
            && !path.components().any(|part| part.as_os_str() == "tests")
            && !path.ends_with("tests.rs")
        {
            let text = std::fs::read_to_string(&path).expect("text");
            let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            texts.push((path, text.to_owned()));
        }
    }
    texts
}

/// Commands between backquotes, and those that stand on a line of their own in an example.
fn commands(text: &str) -> Vec<String> {
    // As it is printed: a line's end in a literal is one, and what is continued is one line.
    let text = text.replace("\\\"", "\"").replace("\\n\\n", "\n").replace("\\\\\n", " ");
    let text = text.replace("\\n", "\n");
    let quoted = text.split('`').skip(1).step_by(2).filter(|part| !part.contains('\n'));
    let mut commands: Vec<String> =
        quoted.filter(|part| part.starts_with("hospes ")).map(str::to_owned).collect();
    for line in text.lines() {
        let line = line.trim_start().trim_start_matches("next: ").trim_start_matches("consumers: ");
        let Some(at) = line.find("hospes ").filter(|at| *at == 0) else { continue };
        let line = line[at..].split('`').next().unwrap_or_default();
        let line = line.split("\")").next().unwrap_or_default();
        let line = line.split("\",").next().unwrap_or_default();
        for part in line.split(" && ").filter(|part| part.starts_with("hospes ")) {
            commands.push(part.to_owned());
        }
    }
    commands
}

/// The words of a command, as a shell has them, as far as it is this program's.
fn words(command: &str) -> Vec<String> {
    let mut command = command.to_owned();
    for (placeholder, value) in PLACEHOLDERS {
        command = command.replace(placeholder, value);
    }
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in command.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, ' ') => words.push(String::new()),
            (None, '>' | '|' | ';' | ')' | '#' | '&') => break,
            _ => words.last_mut().expect("one at least").push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[test]
fn every_command_that_is_named_is_one() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for (path, text) in texts() {
        for command in commands(&text) {
            let words = words(&command);
            // `hospes` in a sentence, or a command whose words are computed.
            if words.len() < 2 || words.iter().any(|word| word.contains(['$', '{', '…', '\\'])) {
                continue;
            }
            seen += 1;
            let names_only = words
                .iter()
                .skip(1)
                .all(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'));
            match Cli::try_parse_from(&words).map_err(|error| error.kind()) {
                Ok(_) | Err(ErrorKind::DisplayHelp) => {}
                // A command that is named, not shown: `hospes sign`.
                Err(
                    ErrorKind::MissingRequiredArgument
                    | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    | ErrorKind::MissingSubcommand,
                ) if names_only => {}
                Err(kind) => wrong.push(format!("{}: `{command}`: {kind:?}", path.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 80, "{seen} commands");
}

#[test]
fn every_problem_of_a_host_has_a_fix_or_says_what_to_do_itself() {
    // Of these the detail names what is wrong, and nothing more can be said without knowing what was sent.
    let by_itself = [
        "method-not-allowed",
        "request-timeout",
        "conflict",
        "body-too-large",
        "account-limit",
        "unsupported-media-type",
        "invalid-request",
        "offer-refused",
        "agreement-refused",
        "negotiation-refused",
        "event-refused",
        "plugin-refused",
        "plugin-failed",
        "plugin-deadline",
        "output-refused",
    ];
    let host = "http://127.0.0.1:8080".parse().expect("an address");
    let wrong =
        crate::api::ProblemKind::ALL.into_iter().map(|kind| kind.parts().0).filter(|code| {
            let body =
                format!(r#"{{"type":"urn:hospes:problem:{code}","title":"t","detail":"d"}}"#);
            let asked = Asked { host: &host, path: "/acme/iris/infer", is_operator: false };
            let has_fix =
                problem::failure(400, body.as_bytes(), asked).to_json()["fix"].is_string();
            has_fix == by_itself.contains(code)
        });
    assert_eq!(wrong.collect::<Vec<_>>(), [""; 0]);
}
