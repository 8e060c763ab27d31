//! SmolLM2-135M-Instruct, as `make downloads` brings it and `hospes pack` makes it.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hospes::checkpoint::{self, Quantise};
use tempfile::{NamedTempFile, TempDir};

use crate::{HostProcess, built};

/// The model's name, if it is packed by [`bundle`].
pub const NAME: &str = "smollm2";

const FOLDER: &str = "samples/language";

/// The downloaded file, with 4 bits a weight.
pub fn gguf() -> PathBuf {
    built(FOLDER).join("SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// The model as a decoder, a file that tests share. The code that makes it is in the test's program, so a file that is older than the
/// program is made again.
pub fn decoder(quantise: Quantise) -> PathBuf {
    let kind = format!("{quantise:?}").to_lowercase();
    let path = built(FOLDER).join(format!("{NAME}-{kind}.safetensors"));
    // Other tests wait in processes of their own.
    let lock = File::create(path.with_extension("lock")).expect("writable");
    lock.lock().expect("locked");
    let program = std::env::current_exe().expect("it runs");
    if changed(&path).is_some_and(|made| changed(&program).is_some_and(|built| built < made)) {
        return path;
    }
    let checkpoint = checkpoint::open_gguf_file(&gguf()).expect("a model");
    let file = NamedTempFile::new_in(built(FOLDER)).expect("writable");
    let mut out = BufWriter::new(file);
    checkpoint.write(Some(quantise), &mut out).expect("a decoder");
    out.flush().expect("written");
    let file = out.into_inner().map_err(|error| error.into_error()).expect("written");
    file.persist(&path).expect("renamed");
    path
}

fn changed(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// The bundle of the model with weights of 32 bits and the code of `plugins/chat`, packed by the program.
pub fn bundle() -> Vec<u8> {
    let folder = TempDir::new().expect("a directory");
    let path = folder.path().join("out.wasm");
    let packing = HostProcess::command()
        .arg("pack")
        .arg(gguf())
        .arg("--guest")
        .arg(built("plugins/chat.wasm"))
        .args(["--quantise", "f32", "--name", NAME, "-o"])
        .arg(&path)
        .output()
        .expect("it runs");
    assert!(packing.status.success(), "{}", String::from_utf8_lossy(&packing.stderr));
    std::fs::read(&path).expect("written")
}
