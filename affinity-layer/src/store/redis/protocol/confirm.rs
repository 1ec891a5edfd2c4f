//! Pins that count only once a replica of Redis holds them.
//!
//! 1. What a claim or a move writes is marked as unconfirmed. The mark is removed once a replica of
//!    Redis was seen to hold the write, and no pin with the mark is reported: a request that finds
//!    one waits for a replica as its maker does, and removes the mark.
//! 2. A change that no replica confirms in time is undone by its maker, unless another request has
//!    confirmed it meanwhile. If its maker is gone, it stays marked.
//! 3. Pins without the mark were confirmed, however old they are, and are read without any replica.
//! 4. What follows from the wait goes over the connection that waited: a primary that was cut off
//!    confirms nothing that another one wrote.

use std::time::Duration;

use bytes::Bytes;
use fred::error::Error;
use fred::types::Value;
use tokio::time::sleep;

use super::super::connection::Commands;
use super::super::errors::store_error;
use super::value::Stored;
use super::{Protocol, scripts};
use crate::{Epoch, Pin, StoreError, StoreErrorKind};

/// What a change has replaced.
///
/// What `UNDO` puts back if no replica holds the change.
pub(super) enum Before {
    None,
    /// A value, and the milliseconds that it had left.
    Value(Bytes, i64),
}

/// The pin of a value that was read under `name`, once it may be reported.
pub(in crate::store::redis) async fn confirmed(
    protocol: &Protocol,
    name: &str,
    stored: Stored,
) -> Result<Pin, StoreError> {
    if stored.unconfirmed {
        Box::pin(confirm(protocol, name, stored.pin.epoch)).await?;
    }
    Ok(stored.pin)
}

/// Waits until a replica holds a change that was made here, or else undoes it.
///
/// # Errors
///
/// `Unconfirmed` if no replica holds it in time; it is undone then. Any other error leaves it
/// marked, and the next request that reads it decides.
pub(super) async fn confirm_change(
    protocol: &Protocol,
    name: &str,
    epoch: Epoch,
    before: Before,
) -> Result<(), StoreError> {
    let confirmed = confirm(protocol, name, epoch).await;
    if let Err(error) = &confirmed
        && error.kind() == StoreErrorKind::Unconfirmed
    {
        let (value, left) = match before {
            Before::None => (Bytes::new(), 0),
            Before::Value(value, left) => (value, left),
        };
        let args = vec![epoch.0.to_string().into(), Value::Bytes(value), left.into()];
        eval_waiting(protocol, scripts::UNDO, name, args).await?;
    }
    confirmed
}

/// Makes sure that a replica holds the pin of `epoch`, and notes it in the value.
///
/// At once where pins count without a replica. Otherwise three round trips with the change itself:
/// write, wait, remove the mark.
async fn confirm(protocol: &Protocol, name: &str, epoch: Epoch) -> Result<(), StoreError> {
    let Some(wait) = protocol.replica_wait else {
        return Ok(());
    };
    let servers = &protocol.servers;
    let (node, limit) = (servers.node_of(name)?, servers.command_timeout());
    let waiting = node.waiting(limit);
    // `WAIT` covers the writes of its own connection, so there has to be one. In a cluster the part in
    // braces leads to the node of the pin. No key has such a name.
    let barrier = format!("{}%{{{name}}}", protocol.names.prefix());
    let held = node.replica_wait.held(async {
        tokio::select! {
            held = waiting.barrier(&barrier, wait) => held,
            never = wake(node.commands(limit), wait) => never,
        }
    });
    if !held.await.map_err(store_error)? {
        let why = "no replica of Redis holds the pin";
        return Err(StoreError::new(StoreErrorKind::Unconfirmed, why));
    }
    let args = vec![epoch.0.to_string().into()];
    match eval_waiting(protocol, scripts::CONFIRM, name, args).await? {
        0 => Err(StoreError::new(StoreErrorKind::Unavailable, "the pin changed meanwhile")),
        _ => Ok(()),
    }
}

/// Keeps Redis awake when a wait should be over: an idle one checks its waiting clients only ten
/// times a second.
async fn wake(commands: Commands, after: i64) -> Result<i64, Error> {
    sleep(Duration::from_millis(after.unsigned_abs())).await;
    loop {
        let _ = commands.time().await;
        sleep(Duration::from_millis(1)).await;
    }
}

/// A script over the connection that waited. Another connection may lead to a server that has taken
/// over since, where the wait means nothing.
async fn eval_waiting(
    protocol: &Protocol,
    script: &'static str,
    name: &str,
    args: Vec<Value>,
) -> Result<i64, StoreError> {
    let servers = &protocol.servers;
    let waiting = servers.node_of(name)?.waiting(servers.command_timeout());
    waiting.eval(script, name, args).await.map_err(store_error)
}
