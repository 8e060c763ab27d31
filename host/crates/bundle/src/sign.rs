//! Signing: adds the publisher to the manifest, and the signature at the end.
//!
//! Only a valid bundle is signed. A signed bundle is signed again only if its signature is valid. Otherwise a publisher might sign a change
//! without noticing it.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::BundleLimits;
use super::layout::{Layout, LayoutError, MANIFEST_SECTION, SIGNATURE_SECTION};
use super::manifest::ManifestError;
use super::pack::write_small_section;
use super::signature::{self, SignedDigests};
use super::verify::{BundleError, check};
use hospes_core::dsse::DsseError;
use hospes_core::id::{Digest, Hasher};
use hospes_core::key::PartyKey;

/// Why a bundle was not signed. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    #[error("`{}` cannot be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the bundle is not valid, so it cannot be signed: build it again")]
    Bundle(#[from] BundleError),
    #[error("the publisher cannot be written into the manifest")]
    Manifest(#[from] ManifestError),
    #[error("the signature cannot be made")]
    Signature(#[from] DsseError),
    #[error("the signed bundle cannot be written")]
    Write(#[source] io::Error),
}

impl From<LayoutError> for SignError {
    fn from(error: LayoutError) -> Self {
        Self::Bundle(error.into())
    }
}

/// Signs a bundle. The same bundle and key give the same bytes.
///
/// # Errors
/// [`SignError::Bundle`] if the bundle or its existing signature is invalid; [`SignError::Manifest`] if the manifest has no room for the
/// publisher.
pub fn sign(bytes: &[u8], key: &PartyKey) -> Result<Vec<u8>, SignError> {
    Ok(Signed::new(bytes, key)?.pieces().concat())
}

/// Signs the bundle in `file` and writes it to `output`, which may be the same file and appears complete or not at all. Returns the digest
/// of the signed bundle, which agreements will name.
///
/// # Errors
/// As [`sign`], and if `file` cannot be read or `output` cannot be written.
pub fn sign_to_file(file: &Path, key: &PartyKey, output: &Path) -> Result<Digest, SignError> {
    let read = |source| SignError::Read { path: file.to_owned(), source };
    let bytes = std::fs::read(file).map_err(read)?;
    let signed = Signed::new(&bytes, key)?;
    let write = |piece: &&[u8], out: &mut io::BufWriter<_>| out.write_all(piece);
    super::write_file(
        output,
        super::READABLE,
        |out| {
            signed.pieces().iter().try_for_each(|piece| write(piece, out)).map_err(SignError::Write)
        },
        SignError::Write,
    )?;
    Ok(signed.digest)
}

/// The pieces of a signed bundle, so that its weights are in memory only once.
struct Signed<'a> {
    component: &'a [u8],
    manifest: Vec<u8>,
    models: &'a [u8],
    signature: Vec<u8>,
    digest: Digest,
}

impl<'a> Signed<'a> {
    fn new(bytes: &'a [u8], key: &PartyKey) -> Result<Self, SignError> {
        let layout = Layout::read(bytes, &BundleLimits::NONE)?;
        let mut checked = check(bytes, &layout)?;
        checked.manifest.publisher = Some(key.party());
        let json = checked.manifest.to_json()?;
        let component = &bytes[layout.code.clone()];
        let manifest = section(MANIFEST_SECTION, &json);
        let models = &bytes[layout.manifest.whole.end..layout.signed_end(bytes)];
        let mut hasher = Hasher::default();
        for piece in [component, &manifest, models] {
            hasher.update(piece);
        }
        // The other parts stay as they were measured.
        let statement = SignedDigests {
            manifest: Digest::of(&json),
            sha256: hasher.clone().finish(),
            ..checked.measured
        };
        let signature = section(SIGNATURE_SECTION, &signature::seal(&statement, key)?);
        hasher.update(&signature);
        let digest = hasher.finish();
        Ok(Self { component, manifest, models, signature, digest })
    }

    fn pieces(&self) -> [&[u8]; 4] {
        [self.component, &self.manifest, self.models, &self.signature]
    }
}

fn section(name: &str, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    write_small_section(&mut out, name, payload).expect("invariant: a vector takes every byte");
    out
}
