//! `hospes profile`: the terms of offers and agreements, for people and for machines.

use clap::{Args, Subcommand};
use serde_json::json;

use super::failure::Failure;
use super::screen::{Answer, table};
use hospes_agreement::registry::TERMS;
use hospes_agreement::{PROFILE, RegistryVersion, profile};

/// Show the terms that offers and agreements can use.
///
/// Prints the host's ODRL profile: every term, what the host does about it, and how.
#[derive(Debug, Args)]
pub struct Profile {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the terms, and what the host does about each.
    #[command(after_long_help = "Example:\n  hospes profile terms")]
    Terms,
    /// Print the registry of terms. Documents name its SHA-256.
    #[command(after_long_help = "Example:\n  hospes profile registry")]
    Registry,
    /// Print the terms in sentences, as JSON.
    #[command(after_long_help = "Example:\n  hospes profile wording")]
    Wording,
    /// Print the JSON Schema of offers, requests and agreements.
    #[command(after_long_help = "Example:\n  hospes profile schema")]
    Schema,
    /// Print the specification's tables.
    #[command(after_long_help = "Example:\n  hospes profile tables")]
    Tables,
}

impl Profile {
    pub fn run(self) -> Result<Answer, Failure> {
        Ok(match self.action {
            Action::Terms => terms(),
            Action::Registry => Answer::Bytes(RegistryVersion::newest().text().into_bytes()),
            Action::Wording => Answer::Bytes(profile::wording().into_bytes()),
            Action::Schema => Answer::Bytes(profile::schema().into_bytes()),
            Action::Tables => Answer::Bytes(profile::tables().into_bytes()),
        })
    }
}

fn terms() -> Answer {
    let registry = RegistryVersion::newest();
    let rows: Vec<_> = TERMS
        .iter()
        .map(|term| {
            let operators: Vec<_> =
                term.forms.iter().map(|(operator, _)| operator.name()).collect();
            let phrase = term.forms.first().map_or("", |(_, phrase)| phrase);
            vec![
                term.name.to_owned(),
                operators.join(" "),
                term.class.name().to_owned(),
                phrase.replace("{}", "…"),
            ]
        })
        .collect();
    let json = json!({
        "profile": PROFILE,
        "registry": registry.number(),
        "digest": registry.digest(),
        "terms": TERMS.iter().map(|term| term.name).collect::<Vec<_>>(),
    });
    let plain = format!(
        "{}\nregistry {} {}",
        table(&["TERM", "OPERATORS", "CLASS", "SAYS"], &rows),
        registry.number(),
        registry.digest()
    );
    Answer::new(plain, json)
}
