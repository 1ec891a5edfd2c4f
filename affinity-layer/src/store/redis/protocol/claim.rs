//! The claim: the one step in which replicas agree.
//!
//! 1. While names change, a pin under the previous name wins; it is read first.
//! 2. `SET name value NX GET PX ttl`. Nothing back: this claim won, after a replica has confirmed
//!    it where that is required.
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
    if let Some(previous) = names.previous(key)
        && let Some(found) = read_name(protocol, &previous, &Expiry::fixed(ttl)).await?
    {
        return Ok(Claim { pin: found.pin, won: false });
    }
    let name = &names.current(key);
    let value = value::encode(&pin, name, protocol.is_replicated());
    let (text, px) = (&value, millis(ttl));
    let set = |commands: Commands| async move { commands.set_new(name, text, px).await };
    let Some(held) = servers.run(name, set).await.map_err(store_error)? else {
        confirm_change(protocol, name, pin.epoch, Before::None).await?;
        return Ok(Claim { pin, won: true });
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
        px.into(),
    ];
    let stands: Bytes = servers.eval(scripts::REPLACE, name, args).await?;
    if stands == value.as_bytes() {
        confirm_change(protocol, name, pin.epoch, Before::None).await?;
        return Ok(Claim { pin, won: true });
    }
    let stands = value::decode(&stands, name)?.ok_or(StoreErrorKind::Invalid)?;
    lost(protocol, name, stands).await
}

/// Another pin is stored, and it may be as young as ours.
async fn lost(protocol: &Protocol, name: &str, stands: Stored) -> Result<Claim, StoreError> {
    let pin = confirmed(protocol, name, stands).await?;
    Ok(Claim { pin, won: false })
}
