//! Tests of the command line as a whole.

use super::*;

mod fixes;

/// Width at which help is written in these tests, whatever the terminal.
const WIDTH: usize = 100;

#[test]
fn the_definition_holds() {
    Cli::command().debug_assert();
}

#[test]
fn the_help_is_as_reviewed() {
    let help = Cli::command().term_width(WIDTH).render_help().to_string();
    // To accept a change, copy what the test prints into the file.
    assert_eq!(help, include_str!("help.txt"), "\n{help}");
}

#[test]
fn every_command_explains_itself_with_an_example() {
    fn check(command: &clap::Command, path: &str) {
        assert!(command.get_about().is_some(), "`{path}` has no help");
        for argument in command.get_arguments().filter(|a| !a.is_positional() && !a.is_hide_set()) {
            assert!(argument.get_help().is_some(), "`{path} --{}` has no help", argument.get_id());
        }
        for sub in command.get_subcommands() {
            check(sub, &format!("{path} {}", sub.get_name()));
        }
    }
    let command = Cli::command();
    check(&command, "hospes");
    // What the host runs for itself is hidden, and not for people.
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let with_example = |command: &clap::Command| {
            command.get_after_long_help().is_some_and(|text| text.to_string().contains("Example:"))
        };
        let taught = with_example(sub) || sub.get_subcommands().any(with_example);
        assert!(taught, "`{}` has no example", sub.get_name());
    }
}
