//! What a bundle carries besides its models: provenance, profile and card. Each is signed with the bundle, and checked here before that.

use super::layout::Extra;
use super::lineage::{self, OtherModel};
use super::manifest::Manifest;
use super::provenance::{Provenance, ProvenanceError};
use hospes_evidence::Profile;

/// Why an extra was refused.
#[derive(Debug, thiserror::Error)]
pub enum ExtrasError {
    #[error("the {what} has {bytes} bytes, more than the {bytes_max} allowed")]
    TooLarge { what: &'static str, bytes: usize, bytes_max: usize },
    #[error("the provenance is refused")]
    Provenance(#[from] ProvenanceError),
    #[error(transparent)]
    OtherModel(#[from] OtherModel),
    #[error("the profile is refused: write it with `hospes evaluate`")]
    Profile(#[source] serde_json::Error),
    #[error("the card is not UTF-8 text: save the README as UTF-8")]
    Card(#[source] std::str::Utf8Error),
}

/// The extras of a bundle, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extras {
    provenance: Option<Box<Provenance>>,
    profile_bytes: Option<usize>,
    card_bytes: Option<usize>,
}

/// Checks the extras of a bundle with this manifest. `of` finds their contents.
pub(super) fn check<'b>(
    of: impl Fn(Extra) -> Option<&'b [u8]>,
    manifest: &Manifest,
) -> Result<Extras, ExtrasError> {
    for extra in Extra::ALL {
        let (bytes, bytes_max) = (of(extra).map_or(0, <[u8]>::len), extra.bytes_max());
        if bytes > bytes_max {
            return Err(ExtrasError::TooLarge { what: extra.word(), bytes, bytes_max });
        }
    }
    let provenance = of(Extra::Provenance).map(Provenance::parse).transpose()?;
    if let Some(provenance) = &provenance {
        lineage::names_a_model(provenance, manifest)?;
    }
    let profile = of(Extra::Profile);
    if let Some(profile) = profile {
        serde_json::from_slice::<Profile>(profile).map_err(ExtrasError::Profile)?;
    }
    let card = of(Extra::Card);
    if let Some(card) = card {
        str::from_utf8(card).map_err(ExtrasError::Card)?;
    }
    Ok(Extras {
        provenance: provenance.map(Box::new),
        profile_bytes: profile.map(<[u8]>::len),
        card_bytes: card.map(<[u8]>::len),
    })
}

impl Extras {
    /// Where the model comes from, with a valid signature, and about this bundle's model.
    pub fn provenance(&self) -> Option<&Provenance> {
        self.provenance.as_deref()
    }

    /// The size of the profile, in bytes.
    pub fn profile_bytes(&self) -> Option<usize> {
        self.profile_bytes
    }

    /// The size of the card, in bytes.
    pub fn card_bytes(&self) -> Option<usize> {
        self.card_bytes
    }
}

#[cfg(test)]
mod tests;
