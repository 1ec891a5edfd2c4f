//! Pins that count only once a replica of Redis holds them.
//!
//! 1. What a claim or a move writes is marked as unconfirmed. The mark goes once a replica of Redis
//!    was seen to hold the write, and nobody is told of a pin that has it: whoever finds one waits for
//!    a replica as its maker does, and takes the mark away.
//! 2. A change that no replica confirms in time is undone by its maker, unless somebody else has
//!    confirmed it meanwhile. If its maker is gone, it stays marked.
//! 3. Pins without the mark were confirmed, however old they are, and are read without any replica.
//! 4. What follows from the wait goes over the connection that waited: a primary that was cut off
//!    confirms nothing that another one wrote.

use std::time::Duration;

use bytes::Bytes;
use fred::error::Error;
use fred::types::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::conn::Conn;
use super::value::Stored;
use super::{RedisStore, failed, scripts};
use crate::{Epoch, Pin, StoreError, StoreErrorKind};

/// What a change has replaced.
pub(super) enum Before {
    None,
    /// A value, and the milliseconds that it had left.
    Value(Bytes, i64),
}

/// The last wait for a replica; one goes for all who ask at the same time.
#[derive(Debug, Default)]
pub(super) struct Barrier(Mutex<Option<(Instant, bool)>>);

impl Barrier {
    /// Whether a replica holds what was written before this was called. `wait` asks for it.
    async fn held(&self, wait: impl Future<Output = Result<i64, Error>>) -> Result<bool, Error> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some((began, held)) = *last
            && began > asked
        {
            return Ok(held);
        }
        let began = Instant::now();
        let held = wait.await? > 0;
        *last = Some((began, held));
        Ok(held)
    }
}

/// Keeps Redis awake when a wait should be over: left alone, it looks ten times a second for waits that
/// are.
async fn wake(conn: Conn, after: i64) -> Result<i64, Error> {
    sleep(Duration::from_millis(after.unsigned_abs())).await;
    loop {
        let _ = conn.time().await;
        sleep(Duration::from_millis(1)).await;
    }
}

impl RedisStore {
    /// Whether pins count only once a replica of Redis holds them.
    pub(crate) fn is_replicated(&self) -> bool {
        self.0.wait.is_some()
    }

    /// The pin of a value that was read under `name`, once it may be told.
    pub(super) async fn confirmed(&self, name: &str, stored: Stored) -> Result<Pin, StoreError> {
        if stored.unconfirmed {
            Box::pin(self.confirm(name, stored.pin.epoch)).await?;
        }
        Ok(stored.pin)
    }

    /// Ends when a replica holds a change that was made here, or else undoes it.
    pub(super) async fn confirm_change(
        &self,
        name: &str,
        epoch: Epoch,
        before: Before,
    ) -> Result<(), StoreError> {
        let confirmed = self.confirm(name, epoch).await;
        if let Err(error) = &confirmed
            && error.kind() == StoreErrorKind::Unconfirmed
        {
            let (value, left) = match before {
                Before::None => (Bytes::new(), 0),
                Before::Value(value, left) => (value, left),
            };
            let args = vec![epoch.0.to_string().into(), Value::Bytes(value), left.into()];
            self.eval_waiting(scripts::UNDO, name, args).await?;
        }
        confirmed
    }

    /// Makes sure that a replica holds the pin of `epoch`, and notes it in the value.
    async fn confirm(&self, name: &str, epoch: Epoch) -> Result<(), StoreError> {
        let Some(wait) = self.0.wait else {
            return Ok(());
        };
        let node = self.node(name)?;
        let conn = node.waiting(self.0.servers.limit());
        // `WAIT` is for the writes of its own connection, so there has to be one. In a cluster the part
        // in braces leads to the node of the pin. No key has such a name.
        let barrier = format!("{}%{{{name}}}", self.names().prefix());
        let held = node.barrier.held(async {
            tokio::select! {
                held = conn.barrier(&barrier, wait) => held,
                never = wake(node.conn(self.0.servers.limit()), wait) => never,
            }
        });
        if !held.await.map_err(failed)? {
            let why = "no replica of Redis holds the pin";
            return Err(StoreError::new(StoreErrorKind::Unconfirmed, why));
        }
        let args = vec![epoch.0.to_string().into()];
        match self.eval_waiting(scripts::CONFIRM, name, args).await? {
            0 => Err(StoreError::new(StoreErrorKind::Unavailable, "the pin changed meanwhile")),
            _ => Ok(()),
        }
    }

    async fn eval_waiting(
        &self,
        script: &'static str,
        name: &str,
        args: Vec<Value>,
    ) -> Result<i64, StoreError> {
        let conn = self.node(name)?.waiting(self.0.servers.limit());
        conn.eval(script, name, args).await.map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_at_once_share_a_wait_that_began_after_they_asked() {
        for held in [0, 1] {
            let (barrier, waits) = (Arc::new(Barrier::default()), Arc::new(AtomicUsize::new(0)));
            let mut asked = JoinSet::new();
            for _ in 0..100 {
                let (barrier, waits) = (barrier.clone(), waits.clone());
                asked.spawn(async move {
                    let wait = async {
                        waits.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(25)).await;
                        Ok(held)
                    };
                    barrier.held(wait).await.unwrap()
                });
            }
            assert_eq!(asked.join_all().await, [held == 1; 100]);
            // Time stands still until the first wait is under way, and it does not count for the rest.
            assert_eq!(waits.load(Ordering::Relaxed), 2);
        }
    }
}
