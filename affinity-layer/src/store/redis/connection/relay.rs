//! What stands between the client library and a server: every reply is scanned before the library
//! decodes it.
//!
//! The library opens its sockets itself and offers no place to look at what it reads; see
//! `reply.rs` for why that is needed. It can connect to a unix socket, so each client is given one
//! of this process, and a task copies bytes between that and the server.
//!
//! 1. The socket exists for as long as one client connects, and takes one connection: a process
//!    that found its name is turned away by its process id.
//! 2. Only whole replies are passed on. A server that sends one byte at a time does not have the
//!    library decode the same reply again and again.
//! 3. A reply that is refused ends the connection, with its cause.
//!
//! It costs a copy and a wake-up in each direction, for each command that goes to Redis; a pinned
//! turn sends none.

use std::io;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, copy, split};
use tokio::net::{UnixListener, UnixStream};

use super::super::unready::Unready;
use super::reply::ReplyScanner;
use super::stream::ServerStream;

/// What is read at once, and what an idle connection keeps.
const PIECE: usize = 8 * 1024;

/// Where one client of the library connects to.
#[derive(Clone, Debug)]
pub(super) struct RelaySocket(PathBuf);

impl RelaySocket {
    /// One with a name that nothing else has.
    pub(super) fn new() -> Self {
        Self(unused_path())
    }

    /// What the library is given as the address.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Listens from now on.
    pub(super) fn open(&self) -> io::Result<OpenRelaySocket> {
        Ok(OpenRelaySocket { listener: UnixListener::bind(&self.0)?, path: self.0.clone() })
    }
}

/// Listens until it is dropped.
pub(super) struct OpenRelaySocket {
    listener: UnixListener,
    path: PathBuf,
}

impl OpenRelaySocket {
    /// The connection of this process.
    pub(super) async fn accept(self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let peer = stream.peer_cred()?;
            if peer.pid().is_none_or(|pid| u32::try_from(pid) == Ok(std::process::id())) {
                return Ok(stream);
            }
        }
    }
}

impl Drop for OpenRelaySocket {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// A name in the abstract namespace: it needs no directory that can be written to, and is gone with
/// its listener.
#[cfg(target_os = "linux")]
fn unused_path() -> PathBuf {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    PathBuf::from(OsStr::from_bytes(format!("\0affinity-{}", random()).as_bytes()))
}

#[cfg(target_os = "linux")]
fn remove(_: &Path) {}

/// A name in the directory for temporary files. Who may connect is decided by the process id.
#[cfg(not(target_os = "linux"))]
fn unused_path() -> PathBuf {
    std::env::temp_dir().join(format!("affinity-{}", random()))
}

#[cfg(not(target_os = "linux"))]
fn remove(path: &Path) {
    let _ = std::fs::remove_file(path);
}

/// 128 bits that the standard library draws for its hash maps.
fn random() -> String {
    use std::hash::{BuildHasher, RandomState};

    let half = || RandomState::new().hash_one(std::process::id());
    format!("{:016x}{:016x}", half(), half())
}

/// Copies commands to the server and whole replies back, until either side ends. The cause of the
/// end, where it was not just the end of a stream.
pub(super) async fn relay(inside: UnixStream, server: ServerStream) -> Option<Unready> {
    let (mut commands, to_client) = inside.into_split();
    let (replies, mut to_server) = split(server);
    tokio::select! {
        ended = copy(&mut commands, &mut to_server) => {
            ended.err().map(|error| Unready::of_io(&error))
        }
        cause = pass_replies(replies, to_client) => cause,
    }
}

/// Copies whole replies.
async fn pass_replies(
    mut from: ReadHalf<ServerStream>,
    mut to: impl AsyncWriteExt + Unpin,
) -> Option<Unready> {
    let (mut scanner, mut bytes) = (ReplyScanner::default(), BytesMut::new());
    loop {
        bytes.reserve(PIECE);
        match from.read_buf(&mut bytes).await {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Unready::of_io(&error)),
        }
        let (whole, refused) = whole_replies(&mut scanner, &bytes);
        // What came before it is in order.
        if whole > 0 && to.write_all(&bytes.split_to(whole)).await.is_err() {
            return None;
        }
        if refused {
            return Some(Unready::InvalidReply);
        }
        if bytes.is_empty() && bytes.capacity() > PIECE {
            bytes = BytesMut::new();
        }
    }
}

/// How many of `bytes` are whole replies, and whether what follows is refused.
fn whole_replies(scanner: &mut ReplyScanner, bytes: &[u8]) -> (usize, bool) {
    let mut whole = 0;
    loop {
        match scanner.whole(bytes.get(whole..).unwrap_or_default()) {
            Ok(Some(length)) => whole += length,
            Ok(None) => return (whole, false),
            Err(_) => return (whole, true),
        }
    }
}
