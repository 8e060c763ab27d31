//! Verification: turns untrusted bytes into a bundle that the rest of the host may trust.
//!
//! Only [`verify`] makes a [`VerifiedBundle`]. Cheap checks come first: nothing is hashed before the signature is valid, and no component
//! is parsed before its bytes match the signature. The surprise: the host, not this crate, checks that the signer is the publishing
//! account, because a bundle does not name an account.

use bytes::Bytes;

use super::BundleLimits;
use super::contents::{self, ContentsError};
use super::extras::{self, Extras, ExtrasError};
use super::layout::{Layout, LayoutError};
use super::manifest::{Encoding, Manifest, ManifestError, ModelSpec};
use super::names::GraphName;
use super::shape::{Shape, ShapeError};
use super::signature::{self, BundlePart, Measured, SignatureSectionError, SignedDigests};
use hospes_core::id::{Digest, Party};
use hospes_decoder::{Decoder, DecoderRefused};

/// Why a bundle was rejected, by stage.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("the bundle's sections are malformed")]
    Layout(#[from] LayoutError),
    #[error("the bundle is not signed: sign it with `hospes sign`")]
    Unsigned,
    #[error("the bundle's signature is refused: sign the bundle again")]
    Signature(#[from] SignatureSectionError),
    #[error(
        "{part} changed after the bundle was signed: get the bundle again, or build and sign it again"
    )]
    Changed { part: BundlePart },
    #[error("the stored bundle does not have the digest {digest} of the published one")]
    Kept { digest: Digest },
    #[error("the bundle's manifest is refused")]
    Manifest(#[from] ManifestError),
    #[error(
        "the bundle is signed by `{signer}`, but its manifest names no publisher: sign it with `hospes sign`"
    )]
    NoPublisher { signer: Party },
    #[error(
        "the bundle is signed by `{signer}`, but its manifest names `{publisher}` as the publisher: sign it with `hospes sign`"
    )]
    OtherPublisher { signer: Party, publisher: Party },
    #[error("the bundle's component is refused")]
    Shape(#[from] ShapeError),
    #[error("the bundle does not match its manifest")]
    Contents(#[from] ContentsError),
    #[error("model `{model}` is no decoder that hosts accept")]
    Decoder { model: GraphName, source: Box<DecoderRefused> },
    #[error("what the bundle says about its model's origin is refused")]
    Extras(#[from] ExtrasError),
    #[error(
        "the record of a published bundle cannot be read ({reason}): restore the data directory from a backup"
    )]
    DamagedRecord { reason: String },
}

impl BundleError {
    /// Used for a stored publication whose record cannot be read.
    pub fn damaged_record(reason: String) -> Self {
        Self::DamagedRecord { reason }
    }
}

/// A bundle with a valid signature by its publisher and a correct manifest. Only [`verify`] makes one.
#[derive(Debug)]
pub struct VerifiedBundle {
    bytes: Bytes,
    layout: Layout,
    manifest: Manifest,
    publisher: Party,
    digest: Digest,
    component: Digest,
    extras: Extras,
}

/// Verifies a bundle.
///
/// # Errors
/// [`BundleError`] names the stage that rejected it. A byte changed after signing gives [`BundleError::Layout`], [`BundleError::Signature`]
/// or [`BundleError::Changed`].
pub fn verify(bytes: Bytes, limits: &BundleLimits) -> Result<VerifiedBundle, BundleError> {
    let layout = Layout::read(&bytes, limits)?;
    if layout.signature.is_none() {
        return Err(BundleError::Unsigned);
    }
    let checked = check(&bytes, &layout)?;
    VerifiedBundle::new(bytes, layout, checked)
}

/// Verifies the bytes of a bundle that this host has verified before, when it had this digest.
///
/// The bytes are hashed once, not part by part: the digest of all bytes before the signature is signed too. Everything else is checked as
/// in [`verify`].
///
/// # Errors
/// As [`verify`]; [`BundleError::Kept`] if the bytes have another digest.
pub fn verify_kept(
    bytes: Bytes,
    digest: &Digest,
    limits: &BundleLimits,
) -> Result<VerifiedBundle, BundleError> {
    let layout = Layout::read(&bytes, limits)?;
    let signature = layout.signature.as_ref().ok_or(BundleError::Unsigned)?;
    let (_, statement) = signature::open(&bytes[signature.payload.clone()])?;
    let (sha256, file) = signature::whole(&bytes, &layout);
    if file != *digest || sha256 != statement.sha256 {
        return Err(BundleError::Kept { digest: *digest });
    }
    let checked = check_measured(&bytes, &layout, Measured { statement, file })?;
    VerifiedBundle::new(bytes, layout, checked)
}

impl VerifiedBundle {
    fn new(bytes: Bytes, layout: Layout, checked: Checked) -> Result<Self, BundleError> {
        Ok(Self {
            bytes,
            layout,
            manifest: checked.manifest,
            publisher: checked.signer.ok_or(BundleError::Unsigned)?,
            digest: checked.digest,
            component: checked.measured.component,
            extras: checked.extras,
        })
    }

    /// The signer.
    pub fn publisher(&self) -> &Party {
        &self.publisher
    }

    /// The publisher's description.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the whole file, which agreements name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Digest of the component alone. Versions that differ only in weights share it.
    pub fn component_digest(&self) -> &Digest {
        &self.component
    }

    /// Where the model comes from and what is known about it, as far as the bundle says.
    pub fn extras(&self) -> &Extras {
        &self.extras
    }

    /// The component without manifest, weights and signature, not copied.
    pub fn component(&self) -> Bytes {
        self.bytes.slice(self.layout.code.clone())
    }

    /// The weights of a model in the manifest, not copied. Empty for a model of another bundle.
    pub fn model(&self, model: &ModelSpec) -> Bytes {
        let mut sections = self.layout.models.iter();
        match sections.find(|(name, _)| *name == model.name) {
            Some((_, section)) => self.bytes.slice(section.payload.clone()),
            None => Bytes::new(),
        }
    }

    /// The whole file.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The positions of the weights, for the registry.
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }
}

/// The result of [`check`].
pub(super) struct Checked {
    pub manifest: Manifest,
    pub shape: Shape,
    /// `None` for an unsigned bundle, whose publisher is only a claim.
    pub signer: Option<Party>,
    pub digest: Digest,
    /// The actual digests of the parts.
    pub measured: SignedDigests,
    pub extras: Extras,
}

/// Checks everything about a bundle, and its signature if it has one.
pub(super) fn check(bytes: &[u8], layout: &Layout) -> Result<Checked, BundleError> {
    // Before anything is hashed.
    open_signature(bytes, layout)?;
    check_measured(bytes, layout, Measured::of(bytes, layout))
}

fn open_signature(
    bytes: &[u8],
    layout: &Layout,
) -> Result<Option<(Party, SignedDigests)>, SignatureSectionError> {
    let signature = layout.signature.as_ref();
    signature.map(|section| signature::open(&bytes[section.payload.clone()])).transpose()
}

/// The same for bytes whose digests are known.
fn check_measured(
    bytes: &[u8],
    layout: &Layout,
    measured: Measured,
) -> Result<Checked, BundleError> {
    let signed = open_signature(bytes, layout)?;
    let Measured { statement: found, file } = measured;
    if let Some(part) = signed.as_ref().and_then(|(_, signed)| signed.first_change(&found)) {
        return Err(BundleError::Changed { part });
    }
    let manifest = Manifest::parse(&bytes[layout.manifest.payload.clone()])?;
    let signer = signed.map(|(signer, _)| signer);
    if let Some(signer) = signer {
        check_publisher(&manifest, signer)?;
    }
    let shape = Shape::read(&bytes[layout.code.clone()])?;
    contents::check_functions(&manifest, &shape)?;
    let digests: Vec<Digest> = found.models.iter().map(|model| model.sha256).collect();
    contents::check_models(&manifest, layout, &digests)?;
    check_decoders(&manifest, layout, bytes)?;
    let extras = extras::check(|extra| layout.extra(extra, bytes), &manifest)?;
    Ok(Checked { manifest, shape, signer, digest: file, measured: found, extras })
}

/// Decoders are data of this format, so this crate knows what is in them. Other models are checked before a backend gets them.
fn check_decoders(manifest: &Manifest, layout: &Layout, bytes: &[u8]) -> Result<(), BundleError> {
    for (spec, (name, section)) in manifest.models.iter().zip(&layout.models) {
        if spec.encoding == Encoding::Decoder {
            let refused = |source| BundleError::Decoder { model: name.clone(), source };
            let weights = bytes.get(section.payload.clone()).unwrap_or_default();
            Decoder::read(weights).map_err(|refusal| refused(Box::new(refusal)))?;
        }
    }
    Ok(())
}

/// The signature's signer must be the publisher in the signed manifest.
fn check_publisher(manifest: &Manifest, signer: Party) -> Result<(), BundleError> {
    match manifest.publisher {
        Some(publisher) if publisher == signer => Ok(()),
        Some(publisher) => Err(BundleError::OtherPublisher { signer, publisher }),
        None => Err(BundleError::NoPublisher { signer }),
    }
}

#[cfg(test)]
mod tests;
