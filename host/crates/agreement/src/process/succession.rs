//! Changing keys: a party says which key follows its own, and the new key says so too.
//!
//! Nothing is signed again. What the old key signed before stays valid, for the host took it while the key was good; from the
//! succession on, the old key signs nothing new, and the new one signs in its place. Who has lost its key altogether cannot make one:
//! its agreements are then ended by the other side, or suspended by the operator.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Signed, Statement};
use hospes_core::id::Party;

/// Why a key is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Keys are changed from time to time.
    Routine,
    /// Somebody else may have the old key.
    Compromise,
}

/// One key follows another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Succession {
    pub from: Party,
    pub to: Party,
    pub cause: Cause,
    pub issued: Timestamp,
}

/// A succession, signed by both keys.
pub type SignedSuccession = Signed<Succession>;

impl Statement for Succession {
    const TYPE: &'static str = "application/vnd.hospes.succession.v1+json";
    const BYTES_MAX: usize = 2048;

    fn signers(&self) -> Vec<Party> {
        vec![self.from, self.to]
    }

    fn check(&self) -> Result<(), String> {
        if self.from == self.to { Err("a key cannot replace itself".to_owned()) } else { Ok(()) }
    }
}
