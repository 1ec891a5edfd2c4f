//! Moving all sessions of a model.

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

use super::Admin;
use super::change::Change;
use super::paths::caller;
use super::pins::has_scope;
use super::refusal::{Refusal, invalid, refusal, store};
use crate::serve::Peer;

/// Pins that one call moves, about, and the longest that it goes on.
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
    let (began, mut next) = (Instant::now(), wish.cursor.clone());
    let (mut moved, mut unchanged, mut failed) = (0_u64, 0_u64, 0_u64);
    let change = Change { admin: &admin, caller: caller(peer) };
    loop {
        let page = admin.sessions.inspect().list(next.as_deref(), STEP).await.map_err(store)?;
        for pin in &page.pins {
            let in_scope = wish.scope.as_ref().map_or(Ok(true), |scope| has_scope(pin, scope))?;
            if !in_scope || *pin.pin.selection.model() != wish.from {
                continue;
            }
            match change.try_move(pin, &to).await {
                Ok(true) => moved += 1,
                // Somebody else was faster.
                Ok(false) => unchanged += 1,
                Err(_) => failed += 1,
            }
        }
        next = page.next;
        if next.is_none() || moved + failed >= MOST || began.elapsed() > LONGEST {
            break;
        }
    }
    if moved > 0 || failed > 0 {
        let (who, from) = (&change.caller, &wish.from);
        tracing::info!(
            target: "audit", %who, action = "move", %from, %to, moved, unchanged, failed
        );
        admin.settle().await;
    }
    Ok(Json(json!({"moved": moved, "unchanged": unchanged, "failed": failed, "next": next})))
}
