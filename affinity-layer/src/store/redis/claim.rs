//! The claim: the one step in which replicas agree.

use std::time::Duration;

use bytes::Bytes;
use fred::types::Value;

use super::confirm::Before;
use super::conn::Conn;
use super::value::Stored;
use super::verbs::Found;
use super::{RedisStore, failed, millis, scripts, value};
use crate::store::Claim;
use crate::{AffinityKey, Expiry, Pin, StoreError, StoreErrorKind};

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
        let node = self.node(&current)?;
        let claim = node.guard.claim(self.claim_guarded(key, pin, ttl)).await?;
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
        let name = &self.names().current(key);
        let value = value::encode(&pin, name, self.is_replicated());
        let (text, px) = (&value, millis(ttl));
        let set = |conn: Conn| async move { conn.set_new(name, text, px).await };
        let Some(held) = self.0.servers.run(name, set).await.map_err(failed)? else {
            self.confirm_change(name, pin.epoch, Before::None).await?;
            return Ok(Claim { pin, won: true });
        };
        if let Some(held) = value::decode(&held, name)? {
            return self.lost(name, held).await;
        }
        tracing::warn!("a value that cannot be read is replaced");
        let head = held.slice(..held.len().min(HEAD));
        let args: Vec<Value> = vec![
            i64::try_from(held.len()).unwrap_or(i64::MAX).into(),
            Value::Bytes(head),
            value.as_str().into(),
            px.into(),
        ];
        let stands: Bytes = self.eval(scripts::REPLACE, name, args).await?;
        if stands == value.as_bytes() {
            self.confirm_change(name, pin.epoch, Before::None).await?;
            return Ok(Claim { pin, won: true });
        }
        let stands = value::decode(&stands, name)?.ok_or(StoreErrorKind::Invalid)?;
        self.lost(name, stands).await
    }

    /// Another pin stands, and it may be as young as ours.
    async fn lost(&self, name: &str, stands: Stored) -> Result<Claim, StoreError> {
        let pin = self.confirmed(name, stands).await?;
        Ok(Claim { pin, won: false })
    }
}
