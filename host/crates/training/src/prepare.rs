//! The folder of a training, before it begins.

use std::fs::{self, File};
use std::io::ErrorKind;
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
    for folder in [job.model_dir(), job.output_dir(), job.checkpoints()] {
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
    }
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
