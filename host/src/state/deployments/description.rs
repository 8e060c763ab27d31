//! Descriptions of published versions as small records: written when a version is published, read when somebody first asks for it.
//!
//! A record is the host's own, compressed JSON. One that is missing, too large or of another format is no error: the version is then
//! described by loading it.

use std::io::{self, Read as _, Write};
use std::sync::Arc;

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use jiff::Timestamp;
use semver::Version;
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use super::{Deployment, DescribedDecoder, DescribedModel};
use crate::bundle::provenance::TrainingSummary;
use crate::bundle::{self, Manifest};
use crate::capability::Capabilities;
use crate::id::{Digest, ModelName, Party};
use crate::sandbox::Prototype;
use crate::store::{Store, Table};
use crate::telemetry::Allowances;

/// The only format that this version of the host reads and writes.
const FORMAT: u32 = 1;

/// Maximum size of a description before compression, in bytes. Versions with longer ones are loaded at every start.
const BYTES_MAX: usize = 256 << 10;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    format: u32,
    bundle: Digest,
    component: Digest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    publisher: Party,
    manifest: Manifest,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    training: Option<TrainingSummary>,
    functions: Vec<Prototype>,
    imports: Capabilities,
    models: Vec<DescribedModel>,
    /// Absent from older records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    decoders: Vec<DescribedDecoder>,
}

/// A version's record; `None` if it would be too large.
pub fn record(deployment: &Deployment) -> Option<Vec<u8>> {
    let record = Record {
        format: FORMAT,
        bundle: deployment.digest,
        component: deployment.component,
        at: deployment.published_at,
        publisher: deployment.publisher,
        manifest: deployment.manifest.clone(),
        training: deployment.training.clone(),
        functions: deployment.functions.to_vec(),
        imports: deployment.imports,
        models: deployment.models.to_vec(),
        decoders: deployment.decoders.to_vec(),
    };
    let mut json = Bounded(Vec::new());
    serde_json::to_writer(&mut json, &record).ok()?;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(&json.0).and_then(|()| encoder.finish());
    Some(written.expect("invariant: writing to memory cannot fail"))
}

/// JSON of at most [`BYTES_MAX`]. Types that share their parts may be much longer as text than in memory.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The key of a version's record.
pub fn described(model: &ModelName, version: &Version) -> String {
    format!("{model}@{version}")
}

/// Where the records are, and what versions share.
pub struct Descriptions {
    pub store: Arc<Store>,
    pub allowances: Arc<Allowances>,
}

impl Descriptions {
    /// What the record says of the version with this bundle.
    pub(super) fn read(
        &self,
        (model, version): (&ModelName, &Version),
        bundle: &Digest,
    ) -> Option<Deployment> {
        let record = self.store.get(Table::Descriptions, &described(model, version)).ok()??;
        let mut json = Vec::new();
        let most = BYTES_MAX as u64;
        DeflateDecoder::new(record.as_slice()).take(most).read_to_end(&mut json).ok()?;
        let record = serde_json::from_slice::<Record>(&json);
        let record = record.inspect_err(|error| {
            tracing::warn!(%model, %version, %error, "a version's description cannot be read");
        });
        let record = record.ok()?;
        if record.format != FORMAT || record.bundle != *bundle {
            return None;
        }
        Some(Deployment {
            model: model.clone(),
            version: version.clone(),
            digest: record.bundle,
            published_at: record.at,
            publisher: record.publisher,
            manifest: record.manifest,
            training: record.training,
            functions: record.functions.into(),
            imports: record.imports,
            models: record.models.into(),
            decoders: record.decoders.into(),
            codeless: bundle::is_passthrough(&record.component),
            statistics: Arc::default(),
            stop: Arc::default(),
            log: self.allowances.of(&model.publisher),
            component: record.component,
            document: OnceCell::new(),
        })
    }
}
