//! Tests of the command line as a whole.

use clap::error::ErrorKind;

use super::*;

mod signing;

#[test]
fn the_definition_holds() {
    Cli::command().debug_assert();
}

#[test]
fn an_error_shows_the_usage_of_the_help() {
    // Options in the environment are the same to clap as these.
    for (line, usage) in [
        ("hospes-cli pack --home h --as a", "hospes-cli pack [OPTIONS] <MODEL>"),
        ("hospes-cli offer withdraw --home h", "hospes-cli offer withdraw [OPTIONS] <OFFER>"),
        ("hospes-cli market --home h --bogus", "hospes-cli market [OPTIONS]"),
    ] {
        let error = Cli::try_parse_from(line.split(' ')).expect_err("wrong usage");
        let shown = with_usage(error, &mut Cli::command()).to_string();
        assert!(shown.contains(&format!("Usage: {usage}\n")), "{shown}");
    }
}

#[test]
fn wrong_usage_is_refused_before_anything_is_done() {
    let kind =
        |line: &str| Cli::try_parse_from(line.split(' ')).map(drop).map_err(|error| error.kind());
    assert_eq!(kind("hospes-cli market --json --as acme"), Ok(()));
    assert_eq!(kind("hospes-cli bogus"), Err(ErrorKind::InvalidSubcommand));
    assert_eq!(kind("hospes-cli market --as Not_A_Name"), Err(ErrorKind::ValueValidation));
    assert_eq!(kind("hospes-cli market --host ftp://x"), Err(ErrorKind::ValueValidation));
    assert_eq!(kind("hospes-cli account new acme"), Err(ErrorKind::MissingRequiredArgument));
    assert_eq!(
        kind("hospes-cli account new a --data d --token-file t"),
        Err(ErrorKind::ArgumentConflict)
    );
    assert_eq!(
        kind("hospes-cli call a/b/c --arg x=1 --json-args {}"),
        Err(ErrorKind::ArgumentConflict)
    );
    assert_eq!(kind("hospes-cli call a/b"), Err(ErrorKind::ValueValidation));
    let offer = "hospes-cli offer new a/b --function f";
    assert_eq!(kind(offer), Err(ErrorKind::MissingRequiredArgument));
    assert_eq!(kind(&format!("{offer} --bundle x --until soon")), Err(ErrorKind::ValueValidation));
    assert_eq!(kind(&format!("{offer} --bundle x --until 30d --input-bytes 64KiB")), Ok(()));
}
