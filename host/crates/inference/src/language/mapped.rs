//! A model's file, mapped: pages of weights are read when they are used, and given back when memory is short.

use std::fs::File;
use std::io;

/// The bytes of a file. The file must not change: the host keeps models under their digests and never writes to them again.
///
/// # Errors
/// If the file cannot be mapped.
pub(super) fn map(file: &File, bytes: u64) -> io::Result<Mapped> {
    let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
    if bytes == 0 {
        return Ok(Mapped { start: std::ptr::null_mut(), bytes });
    }
    use rustix::mm::{MapFlags, ProtFlags, mmap};
    // SAFETY: a new mapping, at an address that the kernel chooses.
    #[expect(unsafe_code, reason = "a mapping is memory that a file stands behind")]
    let start =
        unsafe { mmap(std::ptr::null_mut(), bytes, ProtFlags::READ, MapFlags::PRIVATE, file, 0)? };
    Ok(Mapped { start, bytes })
}

/// A mapped file.
pub(super) struct Mapped {
    start: *mut std::ffi::c_void,
    bytes: usize,
}

impl Mapped {
    pub(super) fn bytes(&self) -> &[u8] {
        if self.bytes == 0 {
            return &[];
        }
        // SAFETY: the mapping is readable, has so many bytes, and is there until this is dropped. Nobody writes to the file.
        #[expect(unsafe_code, reason = "the mapping is known by its address only")]
        unsafe {
            std::slice::from_raw_parts(self.start.cast(), self.bytes)
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        if self.bytes > 0 {
            // SAFETY: nothing borrows the bytes any more, and nothing else unmaps them.
            #[expect(unsafe_code, reason = "the mapping is known by its address only")]
            let _ = unsafe { rustix::mm::munmap(self.start, self.bytes) };
        }
    }
}
