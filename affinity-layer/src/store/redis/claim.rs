//! The claim: the one step in which replicas agree.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::conn::Conn;
use super::verbs::Found;
use super::{RedisStore, failed, millis, scripts, value};
use crate::store::Claim;
use crate::{AffinityKey, Epoch, Expiry, Pin, StoreError, StoreErrorKind};

/// How much of an unreadable value is compared before it is replaced.
const HEAD: usize = 256;

impl RedisStore {
    /// Claims `key` for `pin`, unless there is a pin.
    pub(crate) async fn claim_pin(
        &self,
        key: &AffinityKey,
        pin: Pin,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        let current = self.names().current(key);
        let claim = self.call(&current, self.claim_guarded(key, pin, ttl)).await?;
        self.0.clock.saw(claim.pin.epoch);
        Ok(claim)
    }

    async fn claim_guarded(
        &self,
        key: &AffinityKey,
        pin: Pin,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        if let Some(previous) = self.names().previous(key) {
            let held = self.read(&previous, &Expiry::fixed(ttl)).await?;
            if let Some(Found { pin, .. }) = held {
                return Ok(Claim { pin, won: false });
            }
        }
        let name = self.names().current(key);
        let value = value::encode(&pin, &name);
        let Some(held) = self.set_new(&name, &value, pin.epoch, ttl).await? else {
            return Ok(Claim { pin, won: true });
        };
        if let Some(held) = value::decode(&held, &name)? {
            return Ok(Claim { pin: held, won: false });
        }
        tracing::warn!("a value that cannot be read is replaced");
        let head = held.slice(..held.len().min(HEAD));
        let args: Vec<Value> = vec![
            i64::try_from(held.len()).unwrap_or(i64::MAX).into(),
            Value::Bytes(head),
            value.as_str().into(),
            millis(ttl).into(),
        ];
        let stands: Bytes = self.eval(scripts::REPLACE, &name, args).await?;
        if stands == value.as_bytes() {
            return Ok(Claim { pin, won: true });
        }
        let pin = value::decode(&stands, &name)?.ok_or(StoreErrorKind::Invalid)?;
        Ok(Claim { pin, won: false })
    }

    /// Sets `name` unless it is set, and returns what it was set to before.
    async fn set_new(
        &self,
        name: &str,
        value: &str,
        epoch: Epoch,
        ttl: Duration,
    ) -> Result<Option<Bytes>, StoreError> {
        let (ttl, wait) = (millis(ttl), self.0.wait);
        let set = |conn: Conn| async move { conn.set_new(name, value, ttl, wait).await };
        let (held, confirmed) = self.0.servers.run(name, set).await.map_err(failed)?;
        if wait.is_some() && held.is_none() && confirmed < 1 {
            // Somebody may have seen it in the meantime, for as long as the wait at most.
            let args = vec![epoch.0.to_string().into()];
            self.eval::<i64>(scripts::RELEASE, name, args).await?;
            return Err(StoreError::new(StoreErrorKind::Unavailable, "no replica holds the claim"));
        }
        Ok(held)
    }
}
