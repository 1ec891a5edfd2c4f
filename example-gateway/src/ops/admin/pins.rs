//! Pins: listed, shown, moved and released.
//!
//! A listing is filtered here and not in the store, which knows names and no models. So one call may look at
//! many pins for few: it stops after a second, and its cursor says where to go on. Ids of sessions are shown
//! only if the store keeps them; over Redis with a `key_secret` it does not.

use std::time::Duration;

use affinity_layer::{
    AffinityKey, ModelName, Scope,
    admin::{StoredKey, StoredPin},
    key::IdKind,
};
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::change::{Change, Target};
use super::refusal::{Refusal, invalid, not_found, query, store};
use super::state::{Admin, Caller};
use crate::stack::turns::tag::SessionTag;

/// Pins of a page, by default and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1000;

/// The longest that one call looks for pins that a filter lets through.
const SEARCH: Duration = Duration::from_secs(1);

/// Which pins a listing is about.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    model: Option<ModelName>,
    scope: Option<String>,
    /// Seconds since the claim.
    older_than: Option<u64>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// How a request names one pin: by the session that it belongs to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Session {
    session: String,
    scope: Option<String>,
    lane: Option<String>,
}

/// The new model of a session.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Repin {
    model: String,
}

impl Listing {
    fn lets_through(&self, stored: &StoredPin) -> Result<bool, Refusal> {
        // What leads to a session is not one; no model is called so.
        if stored.pin.selection.model().as_str().starts_with('%') {
            return Ok(false);
        }
        let model = self.model.as_ref();
        let scope = match &self.scope {
            None => true,
            Some(scope) => has_scope(stored, scope)?,
        };
        // One of an unknown age was written by the older system, before any of ours.
        let is_old = |least| stored.age.is_none_or(|age| age.as_secs() >= least);
        let old = self.older_than.is_none_or(is_old);
        Ok(scope && old && model.is_none_or(|model| model == stored.pin.selection.model()))
    }
}

/// Whether a pin belongs to `scope`, if the store knows.
pub(super) fn has_scope(stored: &StoredPin, scope: &str) -> Result<bool, Refusal> {
    let session = stored.session.as_ref().ok_or_else(|| {
        let text = "this store keeps hashes of keys, which do not show the scope";
        invalid("scope_not_kept", text)
    })?;
    Ok(session.scope() == Some(scope))
}

/// `GET /admin/v1/pins`
pub(super) async fn list(
    State(admin): State<Admin>,
    listing: Result<Query<Listing>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let listing = query(listing)?;
    let limit = listing.limit.unwrap_or(PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(invalid("invalid_limit", format!("limit must be 1 to {MAX_PAGE}")));
    }
    let (began, mut pins) = (Instant::now(), Vec::new());
    let mut next = listing.cursor.clone();
    loop {
        let wanted = limit.saturating_sub(pins.len());
        let page = admin.sessions.inspect().list(next.as_deref(), wanted).await.map_err(store)?;
        next = page.next;
        for pin in &page.pins {
            if listing.lets_through(pin)? {
                pins.push(shown(pin));
            }
        }
        if next.is_none() || pins.len() >= limit || began.elapsed() > SEARCH {
            return Ok(Json(json!({"pins": pins, "next": next})));
        }
    }
}

/// The pin that a path names.
pub(super) fn by_key(path: Result<Path<String>, PathRejection>) -> Result<Target, Refusal> {
    // A name that is not text names nothing.
    let Path(key) = path.map_err(|_| not_found())?;
    Ok(Target { keys: vec![StoredKey::new(key)], tag: None })
}

/// The pin of a session that a query names.
pub(super) fn by_session(
    admin: &Admin,
    named: Result<Query<Session>, QueryRejection>,
) -> Result<Target, Refusal> {
    let Session { session, scope, lane } = query(named)?;
    let bad = |error| invalid("invalid_session", format!("session, scope or lane {error}"));
    let scope = scope.map(|scope| Scope::new(&scope)).transpose().map_err(bad)?;
    let key = AffinityKey::new(&session).map_err(bad)?.with_scope(scope);
    let key = match lane {
        Some(lane) => key.with_lane(&lane).map_err(bad)?,
        None => key,
    };
    let tag = Some(SessionTag::of(&key));
    Ok(Target { keys: admin.sessions.inspect().stored_keys(&key), tag })
}

/// The pin of a session that the live page shows.
pub(super) fn by_lane(
    admin: &Admin,
    path: Result<Path<String>, PathRejection>,
) -> Result<Target, Refusal> {
    let Path(name) = path.map_err(|_| not_found())?;
    let (tag, keys) = admin.live.find(&name).ok_or_else(not_found)?;
    Ok(Target { keys, tag: Some(tag) })
}

/// `GET` of a pin.
pub(super) async fn show(admin: &Admin, target: &Target) -> Result<Json<Value>, Refusal> {
    let found = target.find(admin).await?.ok_or_else(not_found)?;
    Ok(Json(shown(&found)))
}

/// `DELETE` of a pin.
pub(super) async fn release(
    admin: &Admin,
    caller: Caller,
    target: &Target,
) -> Result<Json<Value>, Refusal> {
    let released = Change { admin, caller }.release(target).await?;
    Ok(Json(json!({"released": true, "key": released.key.as_str()})))
}

/// `PATCH` of a pin.
pub(super) async fn repin(
    admin: &Admin,
    caller: Caller,
    target: &Target,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let Repin { model } = admin.read(body).await?;
    let model = admin.open(&model)?;
    let (pin, moved) = Change { admin, caller }.repin(target, &model).await?;
    Ok(Json(json!({"moved": moved, "pin": shown(&pin)})))
}

fn shown(stored: &StoredPin) -> Value {
    let StoredPin { key, session, pin, age, left, .. } = stored;
    let mut shown = json!({
        "key": key.as_str(),
        "model": pin.selection.model(),
        "route": pin.selection.route(),
        "candidates": pin.selection.candidates(),
        // A number of JavaScript does not hold it.
        "epoch": pin.epoch.to_string(),
        "age_seconds": age.map(|age| age.as_secs()),
        "expires_in_seconds": left.map(|left| left.as_secs()),
    });
    if let (Some(session), Some(shown)) = (session, shown.as_object_mut()) {
        let named = (session.kind() == IdKind::Header).then(|| session.session());
        shown.insert("session".to_owned(), json!(named));
        shown.insert("scope".to_owned(), json!(session.scope()));
        shown.insert("lane".to_owned(), json!(session.lane()));
    }
    shown
}
