//! Key changes: a party names the key that replaces its own, and the new key confirms.
//!
//! Nothing is signed again. What the old key signed stays valid, because the host accepted it while the key was good. From then on only the
//! new key signs. A party that has lost its key cannot do this: the other side must end its agreements, or the operator suspend them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::statement::{Signed, Statement};
use hospes_core::id::Party;

/// Why a key is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Routine rotation.
    Routine,
    /// The old key may be compromised.
    Compromise,
}

/// One key replaces another.
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
