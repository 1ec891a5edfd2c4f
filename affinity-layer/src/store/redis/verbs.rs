//! The verbs of the store as commands and scripts.

use std::time::Duration;

use bytes::Bytes;
use fred::clients::WithOptions;
use fred::prelude::{Client, ClientLike, Expiration, KeysInterface, LuaInterface};
use fred::types::{ClusterHash, CustomCommand, Value};

use super::value::{self, MAX_VALUE_LEN};
use super::{RedisStore, failed, millis, scripts};
use crate::store::Claim;
use crate::{AffinityKey, Epoch, Expiry, Pin, StoreError, StoreErrorKind};

/// How long a claim may not be confirmed yet, nor taken back.
const UNCERTAIN: Duration = Duration::from_secs(1);

/// A pin as Redis has it.
pub(crate) struct Found {
    pub(crate) pin: Pin,
    pub(crate) left: Duration,
    /// Whether it stands under its current name, and news of it come under that.
    pub(crate) is_current: bool,
}

/// Each call is boxed: the client's futures are large, up to 60 KiB for a read, and a request must
/// not carry the room for them when it is not under way to Redis.
impl RedisStore {
    /// The pin of `key` and its time left, in one round trip. Counts as a use.
    pub(crate) async fn fetch(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
    ) -> Result<Option<Found>, StoreError> {
        let names = self.names();
        let current = names.current(key);
        let found = match names.previous(key) {
            None => self.0.guard.call(Box::pin(self.read(&current, expiry))).await?,
            Some(previous) => {
                let both = async {
                    tokio::try_join!(self.read(&current, expiry), self.read(&previous, expiry))
                };
                let (current, previous) = self.0.guard.call(Box::pin(both)).await?;
                let previous = previous.map(|found| Found { is_current: false, ..found });
                current.or(previous)
            }
        };
        if let Some(Found { pin, .. }) = &found {
            self.0.clock.saw(pin.epoch);
            if self.0.wait.is_some() && self.0.clock.age(pin.epoch) < UNCERTAIN {
                self.0.guard.call(Box::pin(self.confirm(&current))).await?;
            }
        }
        let counters = &self.0.guard.counters;
        if found.is_some() {
            counters.found.add()
        } else {
            counters.absent.add()
        }
        Ok(found)
    }

    /// Makes sure that a replica holds everything that was read.
    ///
    /// A claim that waits for its replica can be read by others meanwhile, and they must not tell of
    /// it sooner. `WAIT` is for the writes of its own connection, so there has to be one.
    async fn confirm(&self, name: &str) -> Result<(), StoreError> {
        let Some(wait) = self.0.wait else {
            return Ok(());
        };
        let client = self.client();
        // In a cluster the part in braces leads to the node of the pin. No key has such a name.
        let barrier = format!("{}%{{{name}}}", self.names().prefix());
        let expire = Some(Expiration::PX(1000));
        let written = client.set::<(), _, _>(barrier, 1, expire, None, false);
        let ((), confirmed) =
            tokio::try_join!(written, wait_for_replica(&client, name, wait)).map_err(failed)?;
        if confirmed < 1 {
            return Err(StoreError::new(StoreErrorKind::Unavailable, "no replica holds the pin"));
        }
        Ok(())
    }

    pub(super) async fn read(
        &self,
        name: &str,
        expiry: &Expiry,
    ) -> Result<Option<Found>, StoreError> {
        let client = self.client();
        let (value, left): (Bytes, i64) = match expiry.limits() {
            Some((idle, max_age)) => {
                let limits = vec![millis(idle), millis(max_age)];
                let read =
                    client.eval::<Option<(Bytes, i64)>, _, _, _>(scripts::TOUCH, name, limits);
                match read.await.map_err(failed)? {
                    Some(read) => read,
                    None => return Ok(None),
                }
            }
            None => {
                // Both are on their way before the first answer is back. A value is never read
                // whole that is longer than any of ours.
                let value = client.getrange(name, 0, MAX_VALUE_LEN);
                tokio::try_join!(value, client.pttl(name)).map_err(failed)?
            }
        };
        if value.is_empty() || left == -2 {
            return Ok(None);
        }
        let Some(pin) = value::decode(&value, name)? else {
            tracing::warn!("a value that cannot be read counts as no pin");
            return Ok(None);
        };
        let mut left = u64::try_from(left).map(Duration::from_millis).ok();
        if left.is_none() {
            // Written without expiry by somebody else: it would pin its session for ever.
            let ttl = expiry.initial();
            let _: () = client.pexpire(name, millis(ttl), None).await.map_err(failed)?;
            left = Some(ttl);
        }
        // Near copies of a value by somebody else live no longer than those of ours.
        Ok(left.map(|left| Found { pin, left: left.min(expiry.initial()), is_current: true }))
    }

    /// Moves the pin of `key` to `pin` if its epoch still is `from`.
    pub(crate) async fn move_pin(
        &self,
        key: &AffinityKey,
        from: Epoch,
        pin: &Pin,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let moving = Pin { claimed_at: std::time::UNIX_EPOCH, ..pin.clone() };
        let names = self.names();
        let claim = self.0.guard.call(Box::pin(async {
            let moved = self.try_move(&names.current(key), from, &moving, expiry).await?;
            match names.previous(key) {
                Some(previous) if moved.is_none() => {
                    self.try_move(&previous, from, &moving, expiry).await
                }
                _ => Ok(moved),
            }
        }));
        let claim = claim.await?;
        if let Some(claim) = &claim {
            self.0.clock.saw(claim.pin.epoch);
        }
        Ok(claim)
    }

    async fn try_move(
        &self,
        name: &str,
        from: Epoch,
        moving: &Pin,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let (value, ttl) = (value::encode(moving, name), millis(expiry.initial()));
        let max_age = expiry.limits().map_or(0, |(_, max_age)| millis(max_age));
        let args = vec![from.0.to_string(), value, ttl.to_string(), max_age.to_string()];
        let client = self.client();
        let moved = client.eval::<Option<(i64, Bytes)>, _, _, _>(scripts::REPIN, name, args);
        let Some((won, value)) = moved.await.map_err(failed)? else {
            return Ok(None);
        };
        Ok(value::decode(&value, name)?.map(|pin| Claim { pin, won: won == 1 }))
    }

    /// Removes the pin of `key`, if `epoch` is given only that generation.
    pub(crate) async fn release_pin(
        &self,
        key: &AffinityKey,
        epoch: Option<Epoch>,
    ) -> Result<bool, StoreError> {
        let names = self.names();
        let epoch = epoch.map(|epoch| epoch.0.to_string()).unwrap_or_default();
        self.0
            .guard
            .call(Box::pin(async {
                let (client, mut released) = (self.client(), 0);
                for name in [Some(names.current(key)), names.previous(key)].into_iter().flatten() {
                    let args = vec![epoch.clone()];
                    let gone = client.eval::<i64, _, _, _>(scripts::RELEASE, name, args);
                    released += gone.await.map_err(failed)?;
                }
                Ok(released > 0)
            }))
            .await
    }
}

/// How many replicas hold what was written on this connection, after `wait` milliseconds at most.
pub(super) async fn wait_for_replica(
    client: &WithOptions<Client>,
    name: &str,
    wait: i64,
) -> Result<i64, fred::error::Error> {
    let slot = ClusterHash::Custom(fred::util::redis_keyslot(name.as_bytes()));
    client.custom(CustomCommand::new_static("WAIT", slot, false), vec![1, wait]).await
}

/// Redis' clock: seconds since 1970, and microseconds of the second.
pub(super) async fn time(client: &Client) -> Result<(u64, u64), fred::error::Error> {
    let command = CustomCommand::new_static("TIME", ClusterHash::Random, false);
    client.custom::<(u64, u64), Value>(command, vec![]).await
}
