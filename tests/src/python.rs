//! Runs the oracles: what third-party packages compute from the same files.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::bundles::{built, workspace};

/// Runs `tests/oracle/<script>` until it exits. Returns its output.
///
/// # Panics
/// If it fails.
pub fn oracle(script: &str, arguments: &[&Path]) -> Vec<u8> {
    let output = Command::new(built("oracle/bin/python"))
        .arg(workspace().join("tests/oracle").join(script))
        .args(arguments)
        .output()
        .expect("it runs");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Runs `tests/clients/<script>`, which uses popular client packages, until it exits. Returns its
/// output.
///
/// # Panics
/// If it fails.
pub fn client(script: &str, arguments: &[&str]) -> String {
    let output = Command::new(built("clients/bin/python"))
        .arg(workspace().join("tests/clients").join(script))
        .args(arguments)
        .output()
        .expect("it runs");
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{script}: {}{}", said(&output.stdout), said(&output.stderr));
    said(&output.stdout)
}

/// Runs an oracle that prints JSON.
///
/// # Panics
/// If it fails or prints something else.
pub fn oracle_json(script: &str, arguments: &[&Path]) -> Value {
    serde_json::from_slice(&oracle(script, arguments)).expect("JSON")
}
