//! Moves and releases a pin, each of them a compare-and-set on its epoch.
//!
//! The comparison is in a script, because the pin may change between a read and a write by another
//! replica. `WATCH` and `MULTI` would do the same in two round trips on a connection that nobody
//! else may use meanwhile.
//!
//! A move that Redis has made and whose answer is lost looks like a failure. Repeated, it finds the
//! new epoch, and returns the stored pin as one that another attempt made. So the answer is right
//! in either case; only who is told "moved" may differ.

use std::time::UNIX_EPOCH;

use bytes::Bytes;

use super::confirm::{Before, confirm_change, confirmed};
use super::{Protocol, millis, scripts, value};
use crate::store::Claim;
use crate::{AffinityKey, Epoch, Expiry, Pin, StoreError};

/// Moves the pin of `key` to `pin` if its epoch is still `from`.
pub(in crate::store::redis) async fn move_pin(
    protocol: &Protocol,
    key: &AffinityKey,
    from: Epoch,
    pin: &Pin,
    expiry: &Expiry,
) -> Result<Option<Claim>, StoreError> {
    let current = protocol.names.current(key);
    let moved = async {
        let moved = try_move(protocol, &current, from, pin, expiry).await?;
        match protocol.names.previous(key) {
            Some(previous) if moved.is_none() => {
                try_move(protocol, &previous, from, pin, expiry).await
            }
            _ => Ok(moved),
        }
    };
    protocol.servers.write(&current, moved).await
}

/// The same for the pin under one name.
///
/// For an administrator, who has a name and no key.
pub(in crate::store::redis) async fn move_name(
    protocol: &Protocol,
    name: &str,
    from: Epoch,
    pin: &Pin,
    expiry: &Expiry,
) -> Result<Option<Claim>, StoreError> {
    protocol.servers.write(name, try_move(protocol, name, from, pin, expiry)).await
}

/// `None` for no pin, and for a value that cannot be read: there is nothing that a move could keep.
async fn try_move(
    protocol: &Protocol,
    name: &str,
    from: Epoch,
    pin: &Pin,
    expiry: &Expiry,
) -> Result<Option<Claim>, StoreError> {
    // The script puts the time of the claim there.
    let moving = Pin { claimed_at: UNIX_EPOCH, ..pin.clone() };
    let ttl = millis(expiry.initial());
    let value = value::encode(&moving, name, protocol.is_replicated());
    let max_age = expiry.limits().map_or(0, |(_, max_age)| millis(max_age));
    let args = vec![from.0.to_string().into(), value.into(), ttl.into(), max_age.into()];
    let moved =
        protocol.servers.eval::<Option<(i64, Bytes, Bytes, i64)>>(scripts::REPIN, name, args);
    let Some((won, value, before, left)) = moved.await? else {
        return Ok(None);
    };
    let Some(stands) = value::decode(&value, name)? else {
        return Ok(None);
    };
    if won == 0 {
        return Ok(Some(Claim { pin: confirmed(protocol, name, stands).await?, won: false }));
    }
    confirm_change(protocol, name, moving.epoch, Before::Value(before, left)).await?;
    Ok(Some(Claim { pin: stands.pin, won: true }))
}

/// Removes the pin of `key`; with `epoch`, only that generation.
pub(in crate::store::redis) async fn release_pin(
    protocol: &Protocol,
    key: &AffinityKey,
    epoch: Option<Epoch>,
) -> Result<bool, StoreError> {
    let current = protocol.names.current(key);
    let released = async {
        let mut released = false;
        for name in [Some(current.clone()), protocol.names.previous(key)].into_iter().flatten() {
            released |= try_release(protocol, &name, epoch).await?;
        }
        Ok(released)
    };
    protocol.servers.release(&current, released).await
}

/// The same for the pin under one name.
pub(in crate::store::redis) async fn release_name(
    protocol: &Protocol,
    name: &str,
    epoch: Option<Epoch>,
) -> Result<bool, StoreError> {
    protocol.servers.release(name, try_release(protocol, name, epoch)).await
}

/// Says whether there was something to remove.
async fn try_release(
    protocol: &Protocol,
    name: &str,
    epoch: Option<Epoch>,
) -> Result<bool, StoreError> {
    let epoch = epoch.map(|epoch| epoch.0.to_string()).unwrap_or_default();
    Ok(protocol.servers.eval::<i64>(scripts::RELEASE, name, vec![epoch.into()]).await? > 0)
}
