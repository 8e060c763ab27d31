//! Receives bundles into an unnamed file in the data directory. However slow an upload is, it takes no memory and no turn, and leaves
//! nothing behind.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::io::AsyncWriteExt as _;

use super::aside::{aside, asker};
use super::body;
use super::compression::{self, Coding};
use super::pace::Paced;
use super::problem::{Problem, ProblemKind};
use crate::admission::{Pace, Spooling};
use crate::deploy::{self, Announced};
use crate::host::Host;
use crate::state::accounts::Caller;

/// A received bundle.
pub(super) struct Spooled {
    file: File,
    length: u64,
    coding: Option<Coding>,
    bytes_max: u64,
    _room: Spooling,
}

/// Receives a bundle from `publisher`, within its limits of size and time and its remaining room.
///
/// # Errors
/// 413, 408; 400 also if nothing comes; 422 if the publisher has no room for it; 503 if it could not be stored.
pub(super) async fn receive(
    host: &Arc<Host>,
    publisher: &Caller,
    headers: &HeaderMap,
    body: Incoming,
) -> Result<Spooled, Problem> {
    let config = host.config();
    let bytes_max = config.bundle.bundle_bytes_max;
    let coding = Coding::of_request(headers)?;
    body::check_declared(&body, bytes_max)?;
    let bytes = body.size_hint().exact();
    if bytes == Some(0) {
        return Err(body::missing());
    }
    let come_max = announced(host, publisher, bytes, coding).await?;
    let mut room = host.spools.open(&publisher.account().name);
    // Before the first byte: a bundle that cannot be stored is rejected at once.
    room.reach(bytes.unwrap_or(0))?;
    let file = open(&config.data.dir).map_err(|error| not_kept(&error))?;
    let mut file = tokio::fs::File::from_std(file);
    let mut body = Paced::new(body, Pace::of(&config.api, config.api.publish_read_timeout));
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(body::broken)?.into_data() else { continue };
        length += piece.len() as u64;
        if length > come_max {
            announced(host, publisher, Some(length), coding).await?;
            return Err(body::too_large(None, come_max));
        }
        room.reach(length)?;
        file.write_all(&piece).await.map_err(|error| not_kept(&error))?;
    }
    if length == 0 {
        return Err(body::missing());
    }
    file.flush().await.map_err(|error| not_kept(&error))?;
    Ok(Spooled { file: file.into_std().await, length, coding, bytes_max, _room: room })
}

/// How many bytes may arrive for a bundle of this length, if known.
async fn announced(
    host: &Arc<Host>,
    publisher: &Caller,
    bytes: Option<u64>,
    coding: Option<Coding>,
) -> Result<u64, Problem> {
    let name = publisher.account().name.clone();
    aside(host, asker(publisher), move |host| {
        let announced = Announced { publisher: &name, bytes, is_compressed: coding.is_some() };
        Ok(deploy::check_announced(host, &announced)?)
    })
    .await
}

impl Spooled {
    /// The bundle in memory, decompressed.
    ///
    /// # Errors
    /// 503 if the file cannot be read; 413 or 400 if its content does not match its headers.
    pub(super) async fn read(self) -> Result<Bytes, Problem> {
        let Self { mut file, length, coding, bytes_max, _room } = self;
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
            file.rewind()?;
            file.read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>(bytes.into())
        });
        let read = read.await.map_err(|panic| Problem::internal(&panic))?;
        let bytes = read.map_err(|error| not_kept(&error))?;
        // In the publisher's turn.
        compression::inflate(bytes, coding, (bytes_max, 0), None).await
    }
}

/// An unnamed file on the data directory's disk.
fn open(data: &Path) -> std::io::Result<File> {
    tempfile::tempfile_in(data)
}

fn not_kept(error: &std::io::Error) -> Problem {
    tracing::warn!(%error, "an incoming bundle could not be stored");
    let detail = "the incoming bundle could not be stored; the operator's log says why";
    Problem::new(ProblemKind::Busy, detail)
}
