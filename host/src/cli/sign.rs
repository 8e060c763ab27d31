//! `hospes sign`: a publisher's signature under a bundle.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Context;
use super::failure::{During as _, Failure};
use super::screen::Answer;
use crate::bundle;

/// Sign a bundle with your key.
///
/// The signature covers every byte before it, and your party is written into the manifest. Without `-o` the file is replaced,
/// whole or not at all.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  hospes sign iris.wasm --as acme")]
pub struct Sign {
    /// The bundle.
    file: PathBuf,
    /// Where the signed bundle goes [default: in place].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Sign {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let key = context.me()?.key()?;
        let output = self.output.as_deref().unwrap_or(&self.file);
        let progress = context.screen.spinner(&format!("signing {}", self.file.display()));
        let digest = bundle::sign_to_file(&self.file, &key, output)
            .during(|| format!("cannot sign `{}`", self.file.display()))?;
        drop(progress);
        let plain = format!(
            "signed by {}\n  bundle {digest}\n  file   {}\nnext: hospes publish {}",
            key.party(),
            output.display(),
            output.display()
        );
        Ok(Answer::new(plain, json!({"file": output, "digest": digest, "signer": key.party()})))
    }
}
