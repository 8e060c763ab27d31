//! The folder of a training, before it begins.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use hospes_confine::left;

use crate::contract::Job;
use crate::run::RunError;

/// Makes the job's folders, without what an earlier run has left. If it is not `fresh`, its checkpoints stay.
///
/// The earlier trainer may have left links there, so none is followed: what would be made or removed behind one is not the trainer's.
///
/// # Errors
/// [`RunError::File`].
pub fn prepare(job: &Job, fresh: bool) -> Result<(), RunError> {
    if fresh {
        remove(&job.folder)?;
    } else {
        // An answer or a model of the interrupted run must not pass for one of this run.
        keep_checkpoints(job)?;
    }
    // What a trainer leaves may have any permissions, so nobody else gets in.
    let private = |folder: &Path| DirBuilder::new().recursive(true).mode(0o700).create(folder);
    for folder in [job.folder.clone(), job.model_dir(), job.output_dir(), job.checkpoints()] {
        private(&folder).map_err(failed(&folder))?;
    }
    fs::set_permissions(&job.folder, Permissions::from_mode(0o700)).map_err(failed(&job.folder))?;
    let events = job.events();
    File::create_new(&events).map(drop).map_err(failed(&events))
}

fn keep_checkpoints(job: &Job) -> Result<(), RunError> {
    let entries = match fs::read_dir(&job.folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed(&job.folder))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed(&job.folder))?;
        let path = entry.path();
        let is_folder = entry.file_type().map_err(failed(&path))?.is_dir();
        if !(is_folder && path == job.checkpoints()) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Removes a file, a link itself, or a folder with all that is in it, if it is there.
///
/// # Errors
/// [`RunError::File`].
pub fn remove(path: &Path) -> Result<(), RunError> {
    left::remove(path).map_err(failed(path))
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> RunError {
    let path = path.to_owned();
    move |source| RunError::File { path: path.clone(), source }
}
