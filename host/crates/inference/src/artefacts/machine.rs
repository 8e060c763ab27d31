//! What an artefact depends on besides its model: the library that wrote it, the processor, and this program's options.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hospes_core::id::Digest;

/// Changes whenever the options of sessions or the layout of artefacts change.
const VERSION: u32 = 1;

/// What the library chooses its kernels by (proc_cpuinfo(5)), on either architecture.
const PROCESSOR: [&str; 12] = [
    "vendor_id",
    "cpu family",
    "model",
    "model name",
    "stepping",
    "flags",
    "CPU implementer",
    "CPU architecture",
    "CPU variant",
    "CPU part",
    "CPU revision",
    "Features",
];

/// The library and the processor.
pub(super) struct Machine {
    library: PathBuf,
    file: Identity,
    processor: String,
    /// The library's content. It is read for the first artefact.
    content: OnceLock<Result<Digest, String>>,
}

/// A file as it was when the workers' library was chosen.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Identity {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = fs::metadata(path)?;
        let changed = (meta.ctime(), meta.ctime_nsec());
        Ok(Self { device: meta.dev(), inode: meta.ino(), bytes: meta.len(), changed })
    }
}

impl Machine {
    pub(super) fn new(library: PathBuf) -> Result<Self, String> {
        let file = Identity::of(&library).map_err(|error| error.to_string())?;
        let text = fs::read_to_string("/proc/cpuinfo");
        let processor = processor(&text.map_err(|error| error.to_string())?);
        if processor.is_empty() {
            return Err("`/proc/cpuinfo` does not describe the processor".into());
        }
        Ok(Self { library, file, processor, content: OnceLock::new() })
    }

    /// The key of this model's artefact here. Blocks.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) fn key(&self, model: &Digest) -> Result<Digest, String> {
        // Workers that start later would load the new file.
        if Identity::of(&self.library).ok().as_ref() != Some(&self.file) {
            return Err("ONNX Runtime's library was replaced: restart the host".into());
        }
        let read = || fs::read(&self.library).map(|bytes| Digest::of(&bytes));
        let content = self.content.get_or_init(|| read().map_err(|error| error.to_string()));
        let content = content.as_ref().map_err(Clone::clone)?;
        Ok(key(model, content, &self.processor))
    }
}

fn key(model: &Digest, library: &Digest, processor: &str) -> Digest {
    Digest::of(format!("artefact {VERSION}\n{model}\n{library}\n{processor}").as_bytes())
}

/// The lines of `/proc/cpuinfo` that matter, once each: a machine may have several kinds of cores.
fn processor(text: &str) -> String {
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        PROCESSOR.contains(&name.trim()).then(|| format!("{}:{}\n", name.trim(), value.trim()))
    });
    lines.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CORE: &str = "processor\t: 0\nmodel name\t: A\nflags\t\t: avx2\ncpu MHz\t\t: 2000.1\n";

    #[test]
    fn a_key_is_of_one_model_one_library_and_one_processor() {
        let here = processor(CORE);
        let other = processor(&CORE.replace("avx2", "avx2 avx512f"));
        let (model, library) = (Digest::of(b"model"), Digest::of(b"library"));
        let keys = [
            key(&model, &library, &here),
            key(&model, &library, &other),
            key(&model, &Digest::of(b"newer"), &here),
            key(&Digest::of(b"another"), &library, &here),
        ];
        assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), keys.len());
    }

    #[test]
    fn what_changes_from_core_to_core_is_not_part_of_it() {
        let busy = CORE.replace("2000.1", "800").replace("processor\t: 0", "processor\t: 1");
        assert_eq!(processor(CORE), processor(&format!("{CORE}\n{busy}")));
        let own = fs::read_to_string("/proc/cpuinfo").expect("readable");
        assert!(!processor(&own).is_empty());
    }

    #[test]
    fn a_library_that_was_replaced_has_no_keys() {
        let folder = tempfile::tempdir().expect("a folder");
        let library = folder.path().join("library.so");
        fs::write(&library, "one").expect("written");
        let machine = Machine::new(library.clone()).expect("there");
        machine.key(&Digest::of(b"model")).expect("as it was");
        fs::write(folder.path().join("new"), "two").expect("written");
        fs::rename(folder.path().join("new"), &library).expect("replaced");
        assert!(machine.key(&Digest::of(b"model")).is_err());
    }
}
