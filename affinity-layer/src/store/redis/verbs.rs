//! The verbs of the store as commands and scripts.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::prelude::FromValue;
use fred::types::Value;

use super::confirm::Before;
use super::conn::Conn;
use super::node::Node;
use super::value::MAX_VALUE_LEN;
use super::{RedisStore, failed, millis, scripts, value};
use crate::store::Claim;
use crate::{AffinityKey, Epoch, Expiry, Pin, StoreError, StoreErrorKind};

/// The longest value that stays where a claim would fetch it, in bytes: that takes a few milliseconds.
const MAX_FETCHED: usize = 2 << 20;

/// A pin as Redis has it.
pub(crate) struct Found {
    pub(crate) pin: Pin,
    pub(crate) left: Duration,
    /// Whether it stands under its current name, and news of it come under that.
    pub(crate) is_current: bool,
}

impl RedisStore {
    /// Makes a call that is about `name`, unless its server was seen to fail.
    pub(super) async fn call<T>(
        &self,
        name: &str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.node(name)?.guard.call(call).await
    }

    /// The server of `name`.
    pub(super) fn node(&self, name: &str) -> Result<Arc<Node>, StoreError> {
        self.0.servers.node(name).ok_or_else(|| {
            self.0.servers.suspect();
            self.0.counters.refused.add();
            StoreError::new(StoreErrorKind::Unavailable, "no server is known for it")
        })
    }

    /// Runs a script where the pin of `name` is.
    pub(super) async fn eval<T: FromValue>(
        &self,
        script: &'static str,
        name: &str,
        args: Vec<Value>,
    ) -> Result<T, StoreError> {
        let run = |conn: Conn| {
            let args = args.clone();
            async move { conn.eval(script, name, args).await }
        };
        self.0.servers.run(name, run).await.map_err(failed)
    }

    /// The pin of `key` and its time left, in one round trip. Counts as a use.
    pub(crate) async fn fetch(
        &self,
        key: &AffinityKey,
        expiry: &Expiry,
    ) -> Result<Option<Found>, StoreError> {
        let names = self.names();
        let current = names.current(key);
        let found = match names.previous(key) {
            None => self.call(&current, self.read(&current, expiry)).await?,
            Some(previous) => {
                let both = async {
                    tokio::try_join!(self.read(&current, expiry), self.read(&previous, expiry))
                };
                let (found, previous) = Box::pin(self.call(&current, both)).await?;
                let previous = previous.map(|found| Found { is_current: false, ..found });
                found.or(previous)
            }
        };
        if let Some(Found { pin, .. }) = &found {
            self.0.clock.saw(pin.epoch);
        }
        let counters = &self.0.counters;
        if found.is_some() {
            counters.found.add()
        } else {
            counters.absent.add()
        }
        Ok(found)
    }

    pub(super) async fn read(
        &self,
        name: &str,
        expiry: &Expiry,
    ) -> Result<Option<Found>, StoreError> {
        let (value, left): (Bytes, i64) = match expiry.limits() {
            Some((idle, max_age)) => {
                let limits = vec![millis(idle).into(), millis(max_age).into()];
                let touched = self.eval::<Option<(Bytes, i64)>>(scripts::TOUCH, name, limits);
                match Box::pin(touched).await? {
                    Some(read) => read,
                    None => return Ok(None),
                }
            }
            None => {
                let read = |conn: Conn| async move { conn.read(name).await };
                self.0.servers.run_over(Node::reader, name, read).await.map_err(failed)?
            }
        };
        if value.is_empty() || left == -2 {
            return Ok(None);
        }
        let Some(stored) = value::decode(&value, name)? else {
            tracing::warn!("a value that cannot be read counts as no pin");
            if value.len() > MAX_VALUE_LEN {
                Box::pin(self.shed(name)).await?;
            }
            return Ok(None);
        };
        let pin = self.confirmed(name, stored).await?;
        let mut left = u64::try_from(left).map(Duration::from_millis).ok();
        if left.is_none() {
            // Written without expiry by somebody else: it would pin its session for ever.
            let ttl = expiry.initial();
            let expire = |conn: Conn| async move { conn.expire(name, millis(ttl)).await };
            Box::pin(self.0.servers.run(name, expire)).await.map_err(failed)?;
            left = Some(ttl);
        }
        // Near copies of a value by somebody else live no longer than those of ours.
        Ok(left.map(|left| Found { pin, left: left.min(expiry.initial()), is_current: true }))
    }

    /// Removes a value that the claim that follows would fetch whole, to no end but to replace it.
    async fn shed(&self, name: &str) -> Result<(), StoreError> {
        let longest = i64::try_from(MAX_FETCHED).unwrap_or(i64::MAX);
        if self.eval::<i64>(scripts::SHED, name, vec![longest.into()]).await? > 0 {
            tracing::warn!("a value too long to be fetched is removed");
        }
        Ok(())
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
        let current = names.current(key);
        let claim = self.call(&current, async {
            let moved = self.try_move(&current, from, &moving, expiry).await?;
            match names.previous(key) {
                Some(previous) if moved.is_none() => {
                    self.try_move(&previous, from, &moving, expiry).await
                }
                _ => Ok(moved),
            }
        });
        let claim = claim.await?;
        if let Some(claim) = &claim {
            self.0.clock.saw(claim.pin.epoch);
        }
        Ok(claim)
    }

    pub(super) async fn try_move(
        &self,
        name: &str,
        from: Epoch,
        moving: &Pin,
        expiry: &Expiry,
    ) -> Result<Option<Claim>, StoreError> {
        let ttl = millis(expiry.initial());
        let value = value::encode(moving, name, self.is_replicated());
        let max_age = expiry.limits().map_or(0, |(_, max_age)| millis(max_age));
        let args = vec![from.0.to_string().into(), value.into(), ttl.into(), max_age.into()];
        let moved = self.eval::<Option<(i64, Bytes, Bytes, i64)>>(scripts::REPIN, name, args);
        let Some((won, value, before, left)) = moved.await? else {
            return Ok(None);
        };
        let Some(stands) = value::decode(&value, name)? else {
            return Ok(None);
        };
        if won == 0 {
            return Ok(Some(Claim { pin: self.confirmed(name, stands).await?, won: false }));
        }
        self.confirm_change(name, moving.epoch, Before::Value(before, left)).await?;
        Ok(Some(Claim { pin: stands.pin, won: true }))
    }

    /// Removes the pin of `key`, if `epoch` is given only that generation.
    pub(crate) async fn release_pin(
        &self,
        key: &AffinityKey,
        epoch: Option<Epoch>,
    ) -> Result<bool, StoreError> {
        let names = self.names();
        let epoch = epoch.map(|epoch| epoch.0.to_string()).unwrap_or_default();
        let current = names.current(key);
        self.call(&current, async {
            let mut released = 0;
            for name in [Some(current.clone()), names.previous(key)].into_iter().flatten() {
                let args = vec![epoch.as_str().into()];
                released += self.eval::<i64>(scripts::RELEASE, &name, args).await?;
            }
            Ok(released > 0)
        })
        .await
    }
}
