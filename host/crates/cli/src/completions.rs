//! `hospes completions`: scripts that let a shell complete commands.

use clap::Args;
use clap_complete::Shell;
use serde_json::json;

use super::screen::Answer;

/// Print a completion script for your shell.
///
/// Put it where your shell looks for completions, or load it from your shell's start-up file.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  \
    hospes completions bash > ~/.local/share/bash-completion/completions/hospes\n  \
    hospes completions zsh > \"${fpath[1]}/_hospes\"")]
pub struct Completions {
    shell: Shell,
}

impl Completions {
    pub fn run(self, command: &mut clap::Command) -> Answer {
        let mut script = Vec::new();
        let name = command.get_name().to_owned();
        clap_complete::generate(self.shell, command, name, &mut script);
        let script = String::from_utf8_lossy(&script).into_owned();
        let json = json!({"shell": self.shell.to_string(), "script": script});
        Answer::new(script, json)
    }
}
