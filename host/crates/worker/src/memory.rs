//! Memory shared by a host and a worker.
//!
//! Its size is sealed, so neither side can make the other fault by truncating it. The host copies data out once before looking at it, so
//! later writes by the worker change nothing.

use std::ffi::c_void;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{MapFlags, ProtFlags};

/// Gives free memory of the C library's heap back to the system. Native libraries use that heap, and a model of 150 MB would stay in it
/// after it was unloaded. Takes milliseconds.
pub fn give_back_heap() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the C library has no other way")]
        // SAFETY: `malloc_trim` takes the heap's own locks, touches free memory only, and may be called at any time. See malloc_trim(3).
        let _was_any = unsafe { libc::malloc_trim(0) };
    }
}

/// The heaps that a process's threads share, at most. The C library would give each thread one, and reserve 64 MiB of address space for it,
/// which counts in a worker's limit.
const HEAPS_MAX: i32 = 2;

/// Has all threads of this process share [`HEAPS_MAX`] heaps of the C library. Call it before there are threads.
pub fn share_heaps() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "the C library has no other way")]
        // SAFETY: it takes no pointer. See mallopt(3).
        let _is_set = unsafe { libc::mallopt(libc::M_ARENA_MAX, HEAPS_MAX) };
    }
}

/// Why memory is not available.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("memory of {bytes} bytes cannot be shared")]
    System {
        bytes: usize,
        #[source]
        source: rustix::io::Errno,
    },
    #[error("the shared memory does not have its stated size, or can still shrink")]
    Unsound,
    #[error("{bytes} bytes from {at} on are not within the shared memory")]
    Outside { at: usize, bytes: usize },
}

/// A mapping of it in this process.
#[derive(Debug)]
pub struct SharedMemory {
    base: NonNull<u8>,
    bytes: usize,
    file: OwnedFd,
}

// SAFETY: the mapping belongs to no thread and is accessed only through raw pointers.
#[expect(unsafe_code, reason = "a mapping is an address, which is neither by itself")]
unsafe impl Send for SharedMemory {}
// SAFETY: as above; a racing reader gets bytes of either write, and checks what it got.
#[expect(unsafe_code, reason = "a mapping is an address, which is neither by itself")]
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// New memory, all zero. Pages are allocated on first write.
    ///
    /// # Errors
    /// [`MemoryError::System`].
    pub fn create(bytes: usize) -> Result<Self, MemoryError> {
        let failed = |source| MemoryError::System { bytes, source };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create("hospes", flags).map_err(failed)?;
        rustix::fs::ftruncate(&file, bytes as u64).map_err(failed)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals).map_err(failed)?;
        Self::map(file, bytes)
    }

    /// Memory that the other side has created.
    ///
    /// # Errors
    /// [`MemoryError::Unsound`] if its size is not sealed to this value.
    pub fn open(file: OwnedFd, bytes: usize) -> Result<Self, MemoryError> {
        let seals = rustix::fs::fcntl_get_seals(&file).map_err(|_| MemoryError::Unsound)?;
        let size = rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0));
        let size = size.map_err(|_| MemoryError::Unsound)?;
        if size != bytes as u64 || !seals.contains(SealFlags::SHRINK) {
            return Err(MemoryError::Unsound);
        }
        Self::map(file, bytes)
    }

    fn map(file: OwnedFd, bytes: usize) -> Result<Self, MemoryError> {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        // SAFETY: the kernel chooses the address, so nothing of this process is replaced.
        #[expect(unsafe_code, reason = "mapping memory has no safe call")]
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), bytes, protection, flags, &file, 0) };
        let base = base.map_err(|source| MemoryError::System { bytes, source })?;
        let base = NonNull::new(base.cast()).ok_or(MemoryError::Unsound)?;
        Ok(Self { base, bytes, file })
    }

    /// Its file, to pass to the other side.
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    fn place(&self, at: usize, bytes: usize) -> Result<NonNull<u8>, MemoryError> {
        let end = at.checked_add(bytes).filter(|end| *end <= self.bytes);
        end.ok_or(MemoryError::Outside { at, bytes })?;
        // SAFETY: `at` is within the mapping, or one past its end.
        #[expect(unsafe_code, reason = "an address within the mapping")]
        Ok(unsafe { self.base.add(at) })
    }

    /// Copies bytes into it.
    ///
    /// # Errors
    /// [`MemoryError::Outside`].
    pub fn write(&self, at: usize, bytes: &[u8]) -> Result<(), MemoryError> {
        let place = self.place(at, bytes.len())?;
        // SAFETY: `place` has checked that the bytes fit; `bytes` is not in the mapping, since no slice of it exists on the side that
        // writes here.
        #[expect(unsafe_code, reason = "the other side may write at any time: no slice may exist")]
        unsafe {
            place.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        }
        Ok(())
    }

    /// Appends bytes from it to `into`.
    ///
    /// # Errors
    /// [`MemoryError::Outside`].
    pub fn read(&self, at: usize, bytes: usize, into: &mut Vec<u8>) -> Result<(), MemoryError> {
        let place = self.place(at, bytes)?;
        into.reserve(bytes);
        let filled = into.len();
        // SAFETY: `place` has checked the mapping, `reserve` the vector; then this many bytes are initialised.
        #[expect(unsafe_code, reason = "the other side may write at any time: no slice may exist")]
        unsafe {
            place.as_ptr().copy_to_nonoverlapping(into.as_mut_ptr().add(filled), bytes);
            into.set_len(filled + bytes);
        }
        Ok(())
    }

    /// The bytes without a copy. For the worker, which trusts its host.
    ///
    /// # Errors
    /// [`MemoryError::Outside`].
    pub fn view(self: &Arc<Self>, at: usize, bytes: usize) -> Result<Bytes, MemoryError> {
        let place = self.place(at, bytes)?;
        Ok(Bytes::from_owner(View { memory: Arc::clone(self), place, bytes }))
    }

    /// Returns a range's pages to the system. They are zero then.
    pub fn give_back(&self, at: usize, bytes: usize) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        // If it fails they stay, which is only memory.
        let _ = rustix::fs::fallocate(&self.file, flags, at as u64, bytes as u64);
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: `map` mapped it with this size, and views keep the memory alive.
        #[expect(unsafe_code, reason = "unmapping has no safe call")]
        let unmapped =
            unsafe { rustix::mm::munmap(self.base.as_ptr().cast::<c_void>(), self.bytes) };
        debug_assert!(unmapped.is_ok(), "it was mapped");
    }
}

struct View {
    memory: Arc<SharedMemory>,
    place: NonNull<u8>,
    bytes: usize,
}

// SAFETY: see `SharedMemory`, which it contains.
#[expect(unsafe_code, reason = "an address within the mapping that it holds")]
unsafe impl Send for View {}

impl AsRef<[u8]> for View {
    fn as_ref(&self) -> &[u8] {
        debug_assert!(self.memory.bytes >= self.bytes);
        // SAFETY: `view` has checked the range, and the mapping lives as long as this. The host does not write into a window during its
        // computation.
        #[expect(unsafe_code, reason = "the worker reads its inputs in place")]
        unsafe {
            std::slice::from_raw_parts(self.place.as_ptr(), self.bytes)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_mapping_writes_the_other_reads_and_nothing_reaches_outside() {
        let one = SharedMemory::create(1 << 16).expect("memory");
        let file = one.file().try_clone_to_owned().expect("a copy");
        let other = Arc::new(SharedMemory::open(file, 1 << 16).expect("the same"));
        one.write(100, b"tensor").expect("inside");
        let mut read = b"a ".to_vec();
        other.read(100, 6, &mut read).expect("inside");
        assert_eq!(read, b"a tensor");
        assert_eq!(other.view(100, 6).expect("inside").as_ref(), b"tensor");
        for (at, bytes) in [(1 << 16, 1), (usize::MAX, 2), (0, (1 << 16) + 1)] {
            assert!(matches!(one.place(at, bytes), Err(MemoryError::Outside { .. })), "{at}");
        }
        one.give_back(0, 1 << 16);
        assert_eq!(other.view(100, 6).expect("inside").as_ref(), [0; 6]);
    }

    #[test]
    fn memory_that_can_still_be_cut_is_not_taken() {
        let file = rustix::fs::memfd_create("test", MemfdFlags::CLOEXEC).expect("a file");
        rustix::fs::ftruncate(&file, 4096).expect("longer");
        assert!(matches!(SharedMemory::open(file, 4096), Err(MemoryError::Unsound)));
    }
}
