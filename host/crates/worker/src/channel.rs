//! Messages between host and worker, one per packet of a Unix socket, some with a file.
//!
//! The kernel copies packets, so checked bytes cannot change afterwards. Neither side trusts the other: a packet that is too long, does not
//! decode, or carries an unexpected file is an error that ends the connection.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::unix::AsyncFd;

/// Maximum size of a message.
pub const MESSAGE_BYTES_MAX: usize = 128 << 10;

/// Maximum files per message.
const FILES_MAX: usize = 1;

/// Why a message was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    #[error("the socket failed")]
    Socket(#[from] rustix::io::Errno),
    #[error("a message of {bytes} bytes is longer than the {MESSAGE_BYTES_MAX} allowed")]
    TooLong { bytes: usize },
    #[error("a message does not decode")]
    Malformed(#[source] postcard::Error),
    #[error("a message carries files that it must not carry")]
    Files,
}

impl ChannelError {
    /// Whether there is nothing to read, or no room to write, right now.
    pub fn would_block(&self) -> bool {
        matches!(self, ChannelError::Socket(rustix::io::Errno::WOULDBLOCK))
    }
}

/// A message with its file.
#[derive(Debug)]
pub struct Received<T> {
    pub message: T,
    pub file: Option<OwnedFd>,
}

/// One end of a connection. Closing it notifies the other.
#[derive(Debug)]
pub struct End(OwnedFd);

impl End {
    /// Both ends of a new connection.
    ///
    /// # Errors
    /// [`ChannelError::Socket`].
    pub fn pair() -> Result<(Self, Self), ChannelError> {
        let (one, other) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        Ok((Self(one), Self(other)))
    }

    /// Another handle to this end.
    ///
    /// # Errors
    /// [`ChannelError::Socket`].
    pub fn try_clone(&self) -> Result<Self, ChannelError> {
        Ok(Self(rustix::io::fcntl_dupfd_cloexec(&self.0, 0)?))
    }

    /// Waits until the other end closes or sends something unexpected.
    pub fn wait_for_more(&self) {
        // One byte of a packet is enough to tell.
        let mut byte = [0; 1];
        let _ = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.0, &mut byte[..], RecvFlags::empty())
        });
    }

    /// Makes reads and writes non-blocking.
    ///
    /// # Errors
    /// [`ChannelError::Socket`].
    pub fn set_nonblocking(&self) -> Result<(), ChannelError> {
        let flags = rustix::fs::fcntl_getfl(&self.0)?;
        Ok(rustix::fs::fcntl_setfl(&self.0, flags | rustix::fs::OFlags::NONBLOCK)?)
    }

    /// Sends a message, optionally with a file.
    ///
    /// # Errors
    /// [`ChannelError`]; nothing was sent.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        let bytes = postcard::to_allocvec(message).map_err(ChannelError::Malformed)?;
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(ChannelError::TooLong { bytes: bytes.len() });
        }
        let Some(file) = file else {
            rustix::io::retry_on_intr(|| rustix::net::send(&self.0, &bytes, SendFlags::NOSIGNAL))?;
            return Ok(());
        };
        let files = [file];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fits = control.push(SendAncillaryMessage::ScmRights(&files));
        debug_assert!(fits, "the space is for one file");
        let parts = [IoSlice::new(&bytes)];
        rustix::net::sendmsg(&self.0, &parts, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; `None` if the other end has closed.
    ///
    /// # Errors
    /// [`ChannelError`]; [`ChannelError::would_block`] tells whether to retry.
    pub fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Buffer,
    ) -> Result<Option<Received<T>>, ChannelError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut buffer.0)];
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(&self.0, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)
        })?;
        let mut file = None;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(files) = message {
                // Dropping the others closes them.
                file = files.last();
            }
        }
        if received.bytes == 0 {
            return Ok(None);
        }
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(ChannelError::TooLong { bytes: received.bytes });
        }
        if received.flags.contains(ReturnFlags::CTRUNC) {
            return Err(ChannelError::Files);
        }
        let bytes = buffer.0.get(..received.bytes).unwrap_or_default();
        let message = decode(bytes)?;
        Ok(Some(Received { message, file }))
    }
}

/// Encodes what is sent in parts.
///
/// # Errors
/// [`ChannelError::Malformed`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, ChannelError> {
    postcard::to_allocvec(message).map_err(ChannelError::Malformed)
}

/// Decodes one message; extra bytes are an error.
///
/// # Errors
/// [`ChannelError::Malformed`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ChannelError> {
    let (message, rest) = postcard::take_from_bytes(bytes).map_err(ChannelError::Malformed)?;
    if rest.is_empty() {
        Ok(message)
    } else {
        Err(ChannelError::Malformed(postcard::Error::DeserializeBadEncoding))
    }
}

/// The receive buffer.
pub struct Buffer(Box<[u8]>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; MESSAGE_BYTES_MAX].into())
    }
}

impl From<OwnedFd> for End {
    fn from(socket: OwnedFd) -> Self {
        Self(socket)
    }
}

impl From<End> for OwnedFd {
    fn from(end: End) -> Self {
        end.0
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// The host's end, asynchronous.
#[derive(Debug)]
pub struct Watched(AsyncFd<End>);

impl Watched {
    /// Registers an end. Call it within a runtime.
    ///
    /// # Errors
    /// [`ChannelError::Socket`].
    pub fn new(end: End) -> Result<Self, ChannelError> {
        end.set_nonblocking()?;
        // SAFETY: an `End` owns its socket, and nothing removes it from the `AsyncFd`.
        #[expect(unsafe_code, reason = "that the socket stays open is for the caller to know")]
        let watched = unsafe { AsyncFd::register(end) };
        watched.map(Self).map_err(|_| ChannelError::Socket(rustix::io::Errno::NOMEM))
    }

    /// The next message; `None` if the other end has closed. Cancel-safe.
    ///
    /// # Errors
    /// [`ChannelError`]; the connection is then useless.
    pub async fn receive<T: DeserializeOwned>(
        &self,
        buffer: &mut Buffer,
    ) -> Result<Option<Received<T>>, ChannelError> {
        loop {
            let readable = self.0.readable().await;
            let mut readable =
                readable.map_err(|_| ChannelError::Socket(rustix::io::Errno::BADF))?;
            match self.0.get_ref().receive(buffer) {
                Err(error) if error.would_block() => readable.clear_ready(),
                received => return received,
            }
        }
    }

    /// Sends a message, optionally with a file. Does not wait: it fails if the kernel has no room.
    ///
    /// # Errors
    /// [`ChannelError`]; nothing was sent.
    pub fn send<T: Serialize>(
        &self,
        message: &T,
        file: Option<BorrowedFd<'_>>,
    ) -> Result<(), ChannelError> {
        self.0.get_ref().send(message, file)
    }

    /// Sends a message once there is room for it.
    ///
    /// # Errors
    /// [`ChannelError`]; nothing was sent.
    pub async fn send_ready<T: Serialize>(&self, message: &T) -> Result<(), ChannelError> {
        loop {
            let writable = self.0.writable().await;
            let mut writable =
                writable.map_err(|_| ChannelError::Socket(rustix::io::Errno::BADF))?;
            match self.send(message, None) {
                Err(error) if error.would_block() => writable.clear_ready(),
                sent => return sent,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_their_files_arrive_one_by_one() {
        let (one, other) = End::pair().expect("a pair");
        let file = std::fs::File::open("/dev/null").expect("there");
        one.send(&(7_u32, "seven"), Some(file.as_fd())).expect("sent");
        one.send(&(8_u32, "eight"), None).expect("sent");
        drop(one);
        let mut buffer = Buffer::default();
        let first = other.receive::<(u32, String)>(&mut buffer).expect("read").expect("there");
        assert_eq!((first.message, first.file.is_some()), ((7, "seven".into()), true));
        let next = other.receive::<(u32, String)>(&mut buffer).expect("read").expect("there");
        assert_eq!((next.message, next.file.is_some()), ((8, "eight".into()), false));
        assert!(other.receive::<(u32, String)>(&mut buffer).expect("read").is_none(), "closed");
    }

    #[tokio::test]
    async fn a_message_waits_until_there_is_room_and_one_that_is_too_long_says_so() {
        let (one, other) = End::pair().expect("a pair");
        let one = Watched::new(one).expect("watched");
        let long = "x".repeat(100_000);
        let mut sent = 0;
        while one.send(&(sent, &long), None).is_ok() {
            sent += 1;
        }
        assert!(sent > 0, "there was room at first");
        let reader = std::thread::spawn(move || {
            let mut buffer = Buffer::default();
            for number in 0..=sent {
                let read = other.receive::<(i32, String)>(&mut buffer).expect("read");
                assert_eq!(read.expect("there").message.0, number);
            }
        });
        one.send_ready(&(sent, &long)).await.expect("sent when there is room");
        reader.join().expect("all were read");
        let too_long = one.send_ready(&"x".repeat(MESSAGE_BYTES_MAX)).await;
        assert!(matches!(too_long, Err(ChannelError::TooLong { .. })), "{too_long:?}");
    }

    #[test]
    fn what_is_too_long_or_no_message_is_an_error() {
        let (one, other) = End::pair().expect("a pair");
        let long = one.send(&"x".repeat(MESSAGE_BYTES_MAX), None);
        assert!(matches!(long, Err(ChannelError::TooLong { .. })), "{long:?}");
        rustix::net::send(&one, &[0xFF; 3], SendFlags::NOSIGNAL).expect("sent");
        let malformed = other.receive::<(u32, String)>(&mut Buffer::default());
        assert!(matches!(malformed, Err(ChannelError::Malformed(_))), "{malformed:?}");
        one.send(&(7_u32, "seven", 1_u8), None).expect("sent");
        let rest = other.receive::<(u32, String)>(&mut Buffer::default());
        assert!(matches!(rest, Err(ChannelError::Malformed(_))), "bytes after it: {rest:?}");
    }
}
