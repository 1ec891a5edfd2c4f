//! Changes of single pins, by the store's own verbs: each is for the epoch that was read.
//!
//! So a change never overwrites another: a pin that has changed meanwhile is read again, a few times, and the
//! change is made to what is stored then. Each change writes a line to the log with the target `audit`:
//! who, what, which session. It is answered when every replica knows it.

use std::sync::Arc;

use affinity_layer::{
    AffinityKey, ModelName, StoreError,
    admin::{StoredKey, StoredPin},
};
use http::StatusCode;

use super::refusal::{Refusal, not_found, refusal, store};
use super::state::{Admin, Caller};
use crate::stack::turns::tag::SessionTag;

/// How often a pin is read again that another request has changed meanwhile.
const TRIES: usize = 3;

/// The pin that a request is about.
pub(super) struct Target {
    /// The names under which it may be stored.
    pub(super) keys: Vec<StoredKey>,
    /// Whose it is, where the request says so.
    pub(super) tag: Option<SessionTag>,
}

impl Target {
    pub(super) async fn find(&self, admin: &Admin) -> Result<Option<StoredPin>, Refusal> {
        for key in &self.keys {
            if let Some(found) = admin.sessions.inspect().find(key).await.map_err(store)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What a log calls the session.
    fn tag(&self, found: &StoredPin) -> SessionTag {
        self.tag.unwrap_or_else(|| tag(found.session.as_ref(), &found.key))
    }
}

fn tag(session: Option<&AffinityKey>, key: &StoredKey) -> SessionTag {
    session.map_or_else(|| SessionTag::of(key), SessionTag::of)
}

/// The author of a change.
pub(super) struct Change<'a> {
    pub(super) admin: &'a Admin,
    pub(super) caller: Caller,
}

impl Change<'_> {
    /// Releases a pin; `Ok` is the one that stood.
    pub(super) async fn release(&self, target: &Target) -> Result<StoredPin, Refusal> {
        for _ in 0..TRIES {
            let found = target.find(self.admin).await?.ok_or_else(not_found)?;
            let inspect = self.admin.sessions.inspect();
            let epoch = Some(found.pin.epoch);
            if inspect.release_stored(&found.key, epoch).await.map_err(store)? {
                let (who, session) = (&self.caller, target.tag(&found));
                let model = found.pin.selection.model();
                tracing::info!(target: "audit", %who, action = "release", %session, %model);
                self.admin.settle().await;
                return Ok(found);
            }
        }
        Err(changed())
    }

    /// Moves a pin to `model`. Returns the stored one, and whether it was moved: a pin that already has the
    /// model is left unchanged.
    pub(super) async fn repin(
        &self,
        target: &Target,
        model: &ModelName,
    ) -> Result<(StoredPin, bool), Refusal> {
        for _ in 0..TRIES {
            let found = target.find(self.admin).await?.ok_or_else(not_found)?;
            if found.pin.selection.model() == model {
                return Ok((found, false));
            }
            if self.try_move(&found, model).await.map_err(store)? {
                let (who, session) = (&self.caller, target.tag(&found));
                let from = found.pin.selection.model();
                tracing::info!(target: "audit", %who, action = "repin", %session, %from, to = %model);
                self.admin.settle().await;
                let moved = target.find(self.admin).await?.ok_or_else(changed)?;
                return Ok((moved, true));
            }
        }
        Err(changed())
    }

    /// Moves a pin that was found; `false` when it is not what it was any more.
    pub(super) async fn try_move(
        &self,
        found: &StoredPin,
        model: &ModelName,
    ) -> Result<bool, StoreError> {
        // A session that is moved by hand is meant to stay there.
        let selection = found.pin.selection.with_model(model.clone()).with_warm_up(0);
        let (inspect, expiry) = (self.admin.sessions.inspect(), &self.admin.expiry);
        let epoch = found.pin.epoch;
        let moved = inspect.repin_stored(&found.key, epoch, Arc::new(selection), expiry).await?;
        Ok(moved.is_some_and(|claim| claim.won))
    }
}

fn changed() -> Refusal {
    let text = "the pin was changed by others meanwhile, again and again; look at it and try again";
    refusal(StatusCode::CONFLICT, "pin_changed", text)
}
