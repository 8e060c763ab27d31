//! `hospes backup`: copies a host's data directory into one file, whether or not the host serves.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use crate::backup::{self, BackupError, Contents, Cut};
use crate::config::about_bytes;
use crate::host::KEY_FILE;
use crate::key::KEY_FILE_BYTES_MAX;
use crate::store::StoreError;
use hospes_cli::Context;
use hospes_cli::document::{self, Force};
use hospes_cli::failure::{During as _, Failure};
use hospes_cli::operator::Operator;
use hospes_cli::screen::{Answer, printable};

/// Back up a host's data directory while the host serves.
///
/// Writes a consistent snapshot of the records, the receipts with their signed checkpoint, and the bundles into one tar file. Calls
/// continue meanwhile. The file is read back and verified before it gets its name. It holds everybody's models and agreements, so
/// only its owner can read it. If no host runs on the directory, it is copied directly.
///
/// The backup does not hold the operator's token; a restored host makes a new one. Nor does it hold the host's key, unless you give
/// `--with-key`. Without that option, keep a copy of `host.pem` elsewhere, because a restore needs it.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes backup -o monday.tar --data ./data\n  \
    hospes backup -o monday.tar --with-key --data ./data\n  \
    hospes backup -o monday.tar --operator http://10.0.0.5:8081 --token-file operator.token")]
pub struct Backup {
    /// The backup's file.
    #[arg(long, short, value_name = "FILE", visible_alias = "to")]
    output: PathBuf,
    #[command(flatten)]
    force: Force,
    /// Put the host's key into the file. Anyone who has the file can then sign receipts as this host.
    #[arg(long, requires = "data")]
    with_key: bool,
    #[command(flatten)]
    operator: Operator,
}

impl Backup {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let path = &self.output;
        self.force.check_whole(path)?;
        let failed = |error| Failure::file("write", path, &error);
        // Readable only by its owner from the beginning.
        let mut file = tempfile::NamedTempFile::new_in(folder(path)).map_err(failed)?;
        let mut out = BufWriter::new(file.as_file_mut());
        if self.with_key {
            let data = self
                .operator
                .data()
                .ok_or_else(|| Failure::new("no data directory was given: add `--data DIR`"))?;
            let key = read_key(&data.join(KEY_FILE))?;
            backup::put_key(&mut out, &key, context.clock.now()).map_err(failed)?;
        }
        let progress = context.screen.spinner(&format!("backing up to {}", path.display()));
        self.write(context, &mut out)?;
        out.flush().map_err(failed)?;
        drop(out);
        progress.step("verifying the backup");
        file.rewind().map_err(failed)?;
        let Contents { manifest, key } = backup::check(BufReader::new(file.as_file()))
            .during(|| "the backup is damaged and was deleted".into())?;
        let bytes = file.as_file().metadata().map_err(failed)?.len();
        file.as_file().sync_all().map_err(failed)?;
        let kept = match self.force.is_set() {
            true => file.persist(path),
            false => file.persist_noclobber(path),
        };
        kept.map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => document::exists(path),
            _ => failed(error.error),
        })?;
        File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(failed)?;
        drop(progress);
        let files = manifest.files.len();
        let mut plain = format!(
            "wrote and verified {}\n  host     {}\n  made     {}\n  entries  {} in its log\n  files    {files}, {}",
            path.display(),
            manifest.host,
            manifest.made,
            manifest.size,
            about_bytes(bytes),
        );
        for missing in &manifest.missing {
            plain += &format!("\n  missing  {missing}: it was not in the data directory");
        }
        plain += match key {
            Some(_) => {
                "\nit holds the host's key: anyone who has the file can sign receipts as this host"
            }
            None => {
                "\nit does not hold the host's key: keep a copy of `host.pem` elsewhere, because a restore needs it"
            }
        };
        let json = json!({
            "file": path.display().to_string(),
            "bytes": bytes,
            "files": files,
            "party": manifest.host,
            "made": manifest.made,
            "entries": manifest.size,
            "checkpoint": manifest.checkpoint,
            "missing": manifest.missing,
            "has_key": key.is_some(),
        });
        Ok(Answer::new(printable(&plain), json))
    }

    /// Reads the directory if no host has it open, or else asks that host.
    fn write(&self, context: &Context, out: &mut impl Write) -> Result<(), Failure> {
        if let Some(data) = self.operator.data() {
            match Cut::of_directory(data, context.clock.clone()) {
                Ok(cut) => return Ok(cut.write_to(out)?),
                Err(BackupError::Store(StoreError::InUse { .. })) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.operator.client(context)?.download("/backup", out)
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

fn read_key(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut key = Zeroizing::new(Vec::with_capacity(KEY_FILE_BYTES_MAX + 1));
    let read = File::open(path)
        .and_then(|file| file.take(KEY_FILE_BYTES_MAX as u64 + 1).read_to_end(&mut key));
    read.map_err(|error| Failure::file("read the host's key from", path, &error))?;
    Ok(key)
}
