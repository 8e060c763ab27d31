//! `hospes build`: a plugin's directory becomes a bundle.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use super::document::Force;
use super::failure::{During as _, Failure};
use super::pack;
use super::screen::Answer;
use hospes_bundle::Project;

/// Pack a plugin's directory into a bundle.
///
/// The directory holds a `hospes.toml`, which names and describes the compiled guest and the models with their digests. Compile
/// the guest first, with its own toolchain. The same inputs give the same bytes. Sign the bundle afterwards.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  hospes build plugins/filetype -o filetype.wasm\n  hospes sign filetype.wasm --as acme"
)]
pub struct Build {
    /// The plugin's directory.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The bundle's file [default: NAME.wasm].
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    force: Force,
}

impl Build {
    pub fn run(self, context: &Context) -> Result<Answer, Failure> {
        let wrong = || format!("cannot build `{}`", self.directory.display());
        let project = Project::read(&self.directory).during(wrong)?;
        let path = self.output.unwrap_or_else(|| format!("{}.wasm", project.name()).into());
        self.force.check_whole(&path)?;
        let progress = context.screen.spinner(&format!("packing {}", self.directory.display()));
        let packed = project.pack_to_file(&path).during(wrong)?;
        drop(progress);
        Ok(pack::wrote(&packed, &path))
    }
}
