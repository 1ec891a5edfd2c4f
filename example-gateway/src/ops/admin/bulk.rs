//! Moving all sessions of a model.
//!
//! For a model that is to be switched off at once, where draining would wait for each session's next request.
//! A call is bounded in pins and in time and returns a cursor, so that the caller repeats it until there is
//! none: a million pins in one call would outlast every timeout on the way. A pin that has moved is not of
//! that model any more, so a call may be repeated.

use std::time::Duration;

use affinity_layer::ModelName;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::change::Change;
use super::pins::has_scope;
use super::refusal::{Refusal, invalid, refusal, store};
use super::state::{Admin, Caller};
use crate::extensions::Peer;

/// Roughly how many pins one call moves, and the longest that it takes.
const MOST: u64 = 1000;
const LONGEST: Duration = Duration::from_secs(2);

/// Pins that are asked of the store at once.
const STEP: usize = 200;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    from: ModelName,
    to: String,
    scope: Option<String>,
    cursor: Option<String>,
}

/// `POST /admin/v1/pins/move`
pub(super) async fn bulk(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    path: Result<Path<String>, PathRejection>,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    // The other names on this path are those of pins.
    if !path.is_ok_and(|Path(name)| name == "move") {
        let text = "this path does not take the method";
        return Err(refusal(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text));
    }
    let wish: Wish = admin.read(body).await?;
    let to = admin.open(&wish.to)?;
    if to == wish.from {
        return Err(invalid("invalid_target", "to must be another model than from"));
    }
    let change = Change { admin: &admin, caller: Caller::of(peer) };
    let mut tally =
        Tally { wish: &wish, to, who: &change.caller, moved: 0, unchanged: 0, failed: 0 };
    let (began, mut next) = (Instant::now(), wish.cursor.clone());
    let mut stopped = None;
    loop {
        match tally.step(&change, next.as_deref()).await {
            Ok(after) => next = after,
            // Reports what is done, and where to continue.
            Err(refusal) if tally.has_done() => stopped = Some(refusal.code()),
            Err(refusal) => return Err(refusal),
        }
        let enough = tally.moved + tally.failed >= MOST || began.elapsed() > LONGEST;
        if stopped.is_some() || next.is_none() || enough {
            break;
        }
    }
    if tally.has_done() {
        admin.settle().await;
    }
    let (moved, unchanged, failed) = (tally.moved, tally.unchanged, tally.failed);
    let told = json!({
        "moved": moved, "unchanged": unchanged, "failed": failed, "next": next, "stopped": stopped,
    });
    Ok(Json(told))
}

/// What a call has done so far. Its line is written when it is dropped, so also when the caller hangs
/// up in the middle.
struct Tally<'a> {
    wish: &'a Wish,
    to: ModelName,
    who: &'a Caller,
    moved: u64,
    unchanged: u64,
    failed: u64,
}

impl Tally<'_> {
    /// Moves what is on the page at `cursor`; returns where the next one is.
    async fn step(
        &mut self,
        change: &Change<'_>,
        cursor: Option<&str>,
    ) -> Result<Option<String>, Refusal> {
        let listed = change.admin.sessions.inspect().list(cursor, STEP).await;
        let page = listed.map_err(store)?;
        for pin in &page.pins {
            let scope = self.wish.scope.as_ref();
            let in_scope = scope.map_or(Ok(true), |scope| has_scope(pin, scope))?;
            if !in_scope || *pin.pin.selection.model() != self.wish.from {
                continue;
            }
            match change.try_move(pin, &self.to).await {
                Ok(true) => self.moved += 1,
                // Another request was faster.
                Ok(false) => self.unchanged += 1,
                Err(_) => self.failed += 1,
            }
        }
        Ok(page.next)
    }

    fn has_done(&self) -> bool {
        self.moved + self.failed > 0
    }
}

impl Drop for Tally<'_> {
    fn drop(&mut self) {
        if self.has_done() {
            let Self { wish: Wish { from, .. }, to, who, moved, unchanged, failed } = self;
            tracing::info!(
                target: "audit", %who, action = "move", %from, %to, moved, unchanged, failed
            );
        }
    }
}
