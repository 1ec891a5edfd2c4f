//! The claim: the one step in which replicas agree.
//!
//! 1. `SET name value NX GET PX ttl`. Nothing back: this claim won, after a replica has confirmed
//!    it where that is required.
//! 2. While names change, a pin under the previous name wins. A script looks for it and claims in one
//!    step: two replicas that write different names must not both win. The two names may be on two
//!    nodes of a cluster, so there the previous one is read first, and a race of first requests is
//!    left.
//! 3. A value back that is a pin: another claim won, and its pin is returned. It may still be
//!    unconfirmed, and then this request waits for a replica as well.
//! 4. A value back that cannot be read: it would keep the session without a pin for ever. A script
//!    replaces it, if it is still there: it compares the length and the first 256 bytes, so that a
//!    pin written meanwhile is not overwritten.
//!
//! The answer to 2. is the whole stored value, however long: Redis has no `GET` with a limit there.
//! `read.rs` removes values above 2 MiB before a claim can meet them;
//! `docs/decisions/0010-claim-set-nx-get.md` says what was rejected.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::super::connection::Commands;
use super::super::errors::store_error;
use super::confirm::{Before, confirm_change, confirmed};
use super::read::read_name;
use super::value::Stored;
use super::{Protocol, millis, scripts, value};
use crate::store::Claim;
use crate::{AffinityKey, Expiry, Pin, StoreError, StoreErrorKind};

/// How much of an unreadable value is compared before it is replaced.
const HEAD: usize = 256;

/// Claims `key` for `pin`, unless there is a pin.
///
/// It passes the guard as a write: only writes reveal a server that takes none, since its reads
/// succeed.
pub(in crate::store::redis) async fn claim_pin(
    protocol: &Protocol,
    key: &AffinityKey,
    pin: Pin,
    ttl: Duration,
) -> Result<Claim, StoreError> {
    let name = protocol.names.current(key);
    protocol.servers.write(&name, claim_guarded(protocol, key, pin, ttl)).await
}

/// The steps, in the order of the module's documentation.
async fn claim_guarded(
    protocol: &Protocol,
    key: &AffinityKey,
    pin: Pin,
    ttl: Duration,
) -> Result<Claim, StoreError> {
    let Protocol { servers, names, .. } = protocol;
    let name = &names.current(key);
    let value = value::encode(&pin, name, protocol.is_replicated());
    let set = match names.previous(key) {
        None => Set::of(set_new(protocol, name, &value, ttl).await?),
        Some(previous) => Box::pin(set_beside(protocol, name, &previous, &value, ttl)).await?,
    };
    let held = match set {
        Set::Done => {
            confirm_change(protocol, name, pin.epoch, Before::None).await?;
            return Ok(Claim { pin, won: true });
        }
        Set::Previous(pin) => return Ok(Claim { pin, won: false }),
        Set::Held(held) => held,
    };
    if let Some(held) = value::decode(&held, name)? {
        return lost(protocol, name, held).await;
    }
    tracing::warn!("a value that cannot be read is replaced");
    let head = held.slice(..held.len().min(HEAD));
    let args: Vec<Value> = vec![
        i64::try_from(held.len()).unwrap_or(i64::MAX).into(),
        Value::Bytes(head),
        value.as_str().into(),
        millis(ttl).into(),
    ];
    let stands: Bytes = servers.eval(scripts::REPLACE, name, args).await?;
    if stands == value.as_bytes() {
        confirm_change(protocol, name, pin.epoch, Before::None).await?;
        return Ok(Claim { pin, won: true });
    }
    let stands = value::decode(&stands, name)?.ok_or(StoreErrorKind::Invalid)?;
    lost(protocol, name, stands).await
}

/// How an attempt to set a value has ended.
enum Set {
    Done,
    /// There is a value.
    Held(Bytes),
    /// There is a pin under the previous name.
    Previous(Pin),
}

impl Set {
    /// What `SET NX GET` returns.
    fn of(held: Option<Bytes>) -> Self {
        held.map_or(Self::Done, Self::Held)
    }
}

/// Sets `name` unless it is set.
async fn set_new(
    protocol: &Protocol,
    name: &str,
    value: &str,
    ttl: Duration,
) -> Result<Option<Bytes>, StoreError> {
    let set = |commands: Commands| async move { commands.set_new(name, value, millis(ttl)).await };
    protocol.servers.run(name, set).await.map_err(store_error)
}

/// The same, unless there is a pin under the `previous` name.
async fn set_beside(
    protocol: &Protocol,
    name: &str,
    previous: &str,
    value: &str,
    ttl: Duration,
) -> Result<Set, StoreError> {
    let servers = &protocol.servers;
    if servers.are_of_cluster() {
        let found = read_name(protocol, previous, &Expiry::fixed(ttl)).await?;
        return Ok(match found {
            Some(found) => Set::Previous(found.pin),
            None => Set::of(set_new(protocol, name, value, ttl).await?),
        });
    }
    let args = vec![value.into(), millis(ttl).into(), previous.into()];
    let set = servers.eval::<Option<(i64, Bytes)>>(scripts::CLAIM, name, args).await?;
    Ok(match set {
        None => Set::Done,
        Some((1, held)) => Set::Held(held),
        Some((_, before)) => match value::decode(&before, previous)? {
            Some(stored) => Set::Previous(confirmed(protocol, previous, stored).await?),
            // Its model has a name that cannot be used.
            None => Set::of(set_new(protocol, name, value, ttl).await?),
        },
    })
}

/// Another pin is stored, and it may be as young as ours.
async fn lost(protocol: &Protocol, name: &str, stands: Stored) -> Result<Claim, StoreError> {
    let pin = confirmed(protocol, name, stands).await?;
    Ok(Claim { pin, won: false })
}
