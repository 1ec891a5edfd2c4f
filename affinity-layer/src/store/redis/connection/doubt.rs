//! Whether a connection still answers each command with the reply to that command.
//!
//! The client library pairs replies and commands by their order alone. When one reply is lost, every
//! later one answers the wrong command, and the connection never recovers by itself. So a command that
//! was overdue, or answered by something that it cannot mean, puts its connection in doubt: a word that
//! nobody else has sent must come back, else the connection is replaced.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use fred::prelude::{Client, ClientLike, Options};
use fred::types::{ClusterHash, CustomCommand};
use tokio::sync::Notify;

use super::super::errors::is_refusal;
use super::super::unready::Unready;

/// How long a word may take to come back before the connection counts as lost.
const PATIENCE: Duration = Duration::from_millis(500);

/// Between two checks of one connection: while a server is slow, every command doubts it.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Raised by whoever hears an answer, and waited for by the task that owns the connection.
///
/// 1. A timeout, or an answer that cannot be parsed, raises doubt. Many at once wake the owner
///    once.
/// 2. The owner sends `ECHO` with a random word. The right word back shows that the answers are in
///    step; a server that was only slow keeps its connection.
/// 3. Anything else back, or nothing in 500 ms, ends the connection.
/// 4. `replace` ends it without a question, for a server that is in order but not the right one any
///    more.
#[derive(Debug, Default)]
pub(crate) struct ConnectionDoubt {
    doubted: Notify,
    replace: AtomicBool,
    failure: Mutex<Option<Unready>>,
}

impl ConnectionDoubt {
    /// What an error on the connection says about it.
    pub(crate) fn heard(&self, error: &Error) {
        if matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Parse | ErrorKind::Protocol) {
            self.raise();
        }
    }

    /// Has the connection checked.
    pub(crate) fn raise(&self) {
        self.doubted.notify_one();
    }

    /// Has the connection replaced.
    pub(crate) fn replace(&self) {
        self.replace.store(true, Ordering::Release);
        self.doubted.notify_one();
    }

    /// Waits until the connection must be replaced.
    ///
    /// Not asked while the client is not connected: its supervisor knows already.
    pub(super) async fn is_lost(&self, client: &Client) {
        loop {
            self.doubted.notified().await;
            if self.replace.swap(false, Ordering::AcqRel) {
                return;
            }
            if client.is_connected() && echo(client, PATIENCE).await.is_err() {
                return;
            }
            tokio::time::sleep(CHECK_EVERY).await;
        }
    }

    /// Why the last attempt to connect failed.
    pub(crate) fn failure(&self) -> Option<Unready> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes why an attempt to connect failed, for `/readyz`.
    pub(super) fn set_failure(&self, failure: Option<Unready>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

/// Sends a word that nobody else has sent, which must come back within `limit`. A server that forbids
/// this answers all the same.
///
/// # Errors
///
/// When something else comes back, or nothing.
pub(crate) async fn echo(client: &Client, limit: Duration) -> Result<(), Error> {
    let client = client.with_options(&Options {
        fail_fast: true,
        timeout: Some(limit),
        ..Options::default()
    });
    let word = format!("{:016x}", RandomState::new().hash_one(()));
    let command = CustomCommand::new_static("ECHO", ClusterHash::Random, false);
    match client.custom::<fred::types::Value, _>(command, vec![word.as_str()]).await {
        Ok(said) if said.as_str().as_deref() == Some(&word) => Ok(()),
        Ok(_) => Err(Error::new(ErrorKind::Protocol, "replies are out of step with commands")),
        Err(error) if is_refusal(&error) => Ok(()),
        Err(error) => Err(error),
    }
}
