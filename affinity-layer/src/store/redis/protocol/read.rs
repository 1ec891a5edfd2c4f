//! Reads a pin and its time left, in one round trip.
//!
//! 1. It is read by `GETRANGE` and `PTTL`, sent together. Nothing is written, so reads may go over a
//!    thread's own connection.
//! 2. The use of a pin that slides is told to Redis in the background; see `renew.rs`.
//! 3. At most 64 KiB are read. A longer value is cut, cannot be a pin then, and is removed if it is
//!    longer than 2 MiB.
//! 4. A value that cannot be read counts as no pin: the session is routed, and its claim replaces
//!    the value.
//! 5. A pin that carries the mark of an unconfirmed change is reported after a replica holds it.
//! 6. A value without an expiry, as another program may write, is given one, or it would pin its
//!    session for ever.

use std::time::Duration;

use bytes::Bytes;

use super::super::connection::Commands;
use super::super::errors::store_error;
use super::super::node::Node;
use super::confirm::confirmed;
use super::value::{self, MAX_VALUE_LEN};
use super::{Protocol, millis, scripts};
use crate::{AffinityKey, Expiry, Pin, StoreError};

/// The longest value that may stay where a claim would fetch it, in bytes: that takes a few milliseconds.
const MAX_FETCHED: usize = 2 << 20;

/// A pin as Redis holds it.
pub(crate) struct FoundPin {
    pub(crate) pin: Pin,
    /// Time until it expires.
    pub(crate) left: Duration,
    /// Whether it is stored under its current name, the one that its invalidations carry.
    pub(crate) is_current: bool,
}

/// The pin of `key` under its current name, else under its previous one.
///
/// Both names are read at the same time, so a change of the secret costs no second round trip.
pub(in crate::store::redis) async fn read_pin(
    protocol: &Protocol,
    key: &AffinityKey,
    expiry: &Expiry,
) -> Result<Option<FoundPin>, StoreError> {
    let Protocol { servers, names, .. } = protocol;
    let current = names.current(key);
    let Some(previous) = names.previous(key) else {
        return servers.call(&current, read_name(protocol, &current, expiry)).await;
    };
    let both = async {
        tokio::try_join!(
            read_name(protocol, &current, expiry),
            read_name(protocol, &previous, expiry)
        )
    };
    let (found, previous) = Box::pin(servers.call(&current, both)).await?;
    Ok(found.or_else(|| previous.map(|found| FoundPin { is_current: false, ..found })))
}

/// The pin under one name.
///
/// Does not pass the guard: its caller does, once for the whole call.
pub(super) async fn read_name(
    protocol: &Protocol,
    name: &str,
    expiry: &Expiry,
) -> Result<Option<FoundPin>, StoreError> {
    read_over(Node::reader, protocol, name, expiry).await
}

/// The same for a read that no request waits for, and that may take longer.
pub(super) async fn read_patiently(
    protocol: &Protocol,
    name: &str,
    expiry: &Expiry,
) -> Result<Option<FoundPin>, StoreError> {
    read_over(Node::patient, protocol, name, expiry).await
}

async fn read_over(
    over: fn(&Node, Duration) -> Commands,
    protocol: &Protocol,
    name: &str,
    expiry: &Expiry,
) -> Result<Option<FoundPin>, StoreError> {
    let read = |commands: Commands| async move { commands.read(name, MAX_VALUE_LEN).await };
    let read = protocol.servers.run_over(over, name, read).await.map_err(store_error)?;
    let Some(found) = found(protocol, name, read).await? else {
        return Ok(None);
    };
    let left = match found.left {
        Duration::MAX => {
            // Another program wrote it without expiry: it would pin its session for ever.
            let ttl = expiry.initial();
            let expire =
                |commands: Commands| async move { commands.expire(name, millis(ttl)).await };
            Box::pin(protocol.servers.run(name, expire)).await.map_err(store_error)?;
            ttl
        }
        // A near copy of a foreign value lives no longer than a copy of our own value.
        left => left.min(expiry.initial()),
    };
    Ok(Some(FoundPin { left, ..found }))
}

/// The pin in a value and its milliseconds left, as they were read under `name`. One without an expiry
/// has [`Duration::MAX`] left.
pub(super) async fn found(
    protocol: &Protocol,
    name: &str,
    (value, left): (Bytes, i64),
) -> Result<Option<FoundPin>, StoreError> {
    if value.is_empty() || left == -2 {
        return Ok(None);
    }
    let Some(stored) = value::decode(&value, name)? else {
        tracing::warn!("a value that cannot be read counts as no pin");
        if value.len() > MAX_VALUE_LEN {
            Box::pin(shed(protocol, name)).await?;
        }
        return Ok(None);
    };
    let pin = confirmed(protocol, name, stored).await?;
    let left = u64::try_from(left).map_or(Duration::MAX, Duration::from_millis);
    Ok(Some(FoundPin { pin, left, is_current: true }))
}

/// Removes a value that the next claim would fetch whole only to replace it.
async fn shed(protocol: &Protocol, name: &str) -> Result<(), StoreError> {
    let longest = i64::try_from(MAX_FETCHED).unwrap_or(i64::MAX);
    if protocol.servers.eval::<i64>(scripts::SHED, name, vec![longest.into()]).await? > 0 {
        tracing::warn!("a value too long to be fetched is removed");
    }
    Ok(())
}
