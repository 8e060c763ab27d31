//! A bundle's code, to be packed with another model.

use std::path::Path;

use bytes::Bytes;

use super::BundleLimits;
use super::inspect::InspectError;
use super::layout::Layout;
use super::manifest::{Manifest, ModelSpec};
use super::verify::{BundleError, check};

/// A bundle's component, its manifest, and its models.
#[derive(Debug)]
pub struct GuestCode {
    pub component: Bytes,
    pub manifest: Manifest,
    weights: Vec<Bytes>,
}

impl GuestCode {
    /// Reads a bundle from a file and checks all of it. Runs no code.
    ///
    /// # Errors
    /// If the file cannot be read, or the first check that fails.
    pub fn read(path: &Path) -> Result<Self, InspectError> {
        let read = |source| InspectError::Read { path: path.to_owned(), source };
        let bytes = Bytes::from(std::fs::read(path).map_err(read)?);
        let layout = Layout::read(&bytes, &BundleLimits::NONE).map_err(BundleError::from)?;
        let manifest = check(&bytes, &layout)?.manifest;
        let sections =
            layout.models.iter().map(|(_, section)| bytes.slice(section.payload.clone()));
        let weights = sections.collect();
        Ok(Self { component: bytes.slice(layout.code.clone()), manifest, weights })
    }

    /// Its models with their weights, in the manifest's order.
    pub fn models(&self) -> impl Iterator<Item = (&ModelSpec, &Bytes)> {
        self.manifest.models.iter().zip(&self.weights)
    }
}
