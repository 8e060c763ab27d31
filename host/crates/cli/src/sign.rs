//! `hospes sign`: signs bundles.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::Context;
use super::bulk;
use super::document::Force;
use super::failure::{During as _, Failure};
use super::screen::Answer;
use hospes_bundle as bundle;
use hospes_core::id::Digest;
use hospes_core::key::PartyKey;

/// Sign bundles with your key.
///
/// The signature covers every byte before it, and your party is written into the manifest. Without `-o` the file is replaced
/// atomically. All bundles are tried, and each prints a line. Exit code 1 if one could not be signed.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes sign iris.wasm --as acme\n  hospes sign *.wasm --as acme"
)]
pub struct Sign {
    /// The bundles.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The signed bundle's file, for a single bundle [default: in place].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

impl Sign {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let key = context.me()?.key()?;
        let [file] = self.files.as_slice() else {
            if self.output.is_some() {
                return Err(Failure::new("several bundles cannot go into one file")
                    .fix("leave out `-o` to sign each in place"));
            }
            return Ok(bulk::each(&self.files, |file| {
                let digest = sign(context, file, &key, file)?;
                let json = json!({"digest": digest, "signer": key.party()});
                Ok((format!("signed, bundle {digest}"), json))
            }));
        };
        let output = self.output.as_deref().unwrap_or(file);
        // Signing in place replaces the file without `--force`.
        if output != file {
            self.force.check_whole(output)?;
        }
        let digest = sign(context, file, &key, output)?;
        let plain = format!(
            "signed by {}\n  bundle {digest}\n  file   {}\nnext: hospes publish {}",
            key.party(),
            output.display(),
            output.display()
        );
        Ok(Answer::new(
            plain,
            json!({"file": output.display().to_string(), "digest": digest, "signer": key.party()}),
        ))
    }
}

fn sign(context: &Context, file: &Path, key: &PartyKey, output: &Path) -> Result<Digest, Failure> {
    let _progress = context.screen.spinner(&format!("signing {}", file.display()));
    bundle::sign_to_file(file, key, output).during(|| format!("cannot sign `{}`", file.display()))
}
