//! What became of an agreement after it was signed.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Active, Agreements, AgreementsError, Directory, Standing};
use crate::agreement::SignedAgreement;
use crate::sandbox::Stop;

/// Whether an agreement runs.
pub(super) struct Life {
    stop: Arc<Stop>,
}

impl Life {
    pub fn new(_signed: &SignedAgreement) -> Self {
        Self { stop: Arc::default() }
    }

    pub fn in_force(&self, _now: Timestamp) -> Result<(), String> {
        Ok(())
    }

    pub fn stop(&self) -> &Arc<Stop> {
        &self.stop
    }
}

impl Standing {
    pub(super) fn events(&self) -> usize {
        0
    }
}

impl Agreements {
    pub(super) fn restore_events(&self, _directory: &Directory) -> Result<(), AgreementsError> {
        Ok(())
    }

    pub(super) fn supersede(
        &self,
        _earlier: &Active,
        _standing: &Standing,
        _record: (&str, &[u8]),
    ) -> Result<(), AgreementsError> {
        Ok(())
    }
}
