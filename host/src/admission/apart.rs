//! Long work on what callers send, such as reading a large document: apart from the threads that serve, and in turn.

use std::sync::LazyLock;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};

/// Up to this many bytes a document is read where it came in: handing it to another thread would cost more.
pub const READ_HERE_BYTES_MAX: usize = 64 << 10;

/// Documents that are read at once: one a core. The others wait in the order they came.
static READERS: LazyLock<Semaphore> = LazyLock::new(|| {
    Semaphore::new(std::thread::available_parallelism().map_or(1, |cores| cores.get()))
});

/// What `work` on a document of so many bytes comes to.
///
/// # Errors
/// If it panicked.
pub async fn apart<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if bytes <= READ_HERE_BYTES_MAX {
        return Ok(work());
    }
    let turn = READERS.acquire().await.expect("invariant: the semaphore is never closed");
    spawn_blocking(move || {
        // Held by the work: whoever asked for it may have left.
        let _turn = turn;
        work()
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::thread::current;

    use super::*;

    #[tokio::test]
    async fn a_small_document_is_read_where_it_came_in_and_a_large_one_elsewhere() {
        let here = current().id();
        let read = |bytes| apart(bytes, || current().id());
        assert_eq!(read(READ_HERE_BYTES_MAX).await.expect("no panic"), here);
        assert_ne!(read(READ_HERE_BYTES_MAX + 1).await.expect("no panic"), here);
        assert!(apart(1 << 20, || panic!("by intent")).await.map(|(): ()| ()).is_err());
        assert_ne!(read(1 << 20).await.expect("the turn was given back"), here);
    }
}
