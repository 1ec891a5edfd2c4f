//! Draining: a model that gets no new sessions, and keeps or loses those that it has.
//!
//! It changes the [board](crate::ops::drains), which all replicas over one Redis read. What a drained model
//! means for requests is decided in `stack::routed` and `upstream::drains`.

use std::time::{SystemTime, UNIX_EPOCH};

use affinity_layer::ModelName;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::{Refusal, invalid, refusal, store, unserved};
use super::state::{Admin, Caller};
use crate::extensions::Peer;
use crate::upstream::drains::{Drain, Live};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wish {
    #[serde(default)]
    sessions: Live,
    to: Option<String>,
}

type Named = Result<Path<String>, PathRejection>;

/// The name of a model may hold slashes, and comes before the last part of the path.
fn named(path: Named) -> Result<String, Refusal> {
    let path = path.map(|Path(path)| path).unwrap_or_default();
    path.strip_suffix("/drain")
        .map(str::to_owned)
        .ok_or_else(|| refusal(StatusCode::NOT_FOUND, "not_found", "this path is not served"))
}

/// `GET /admin/v1/drains`
pub(super) async fn list(State(admin): State<Admin>) -> Json<Value> {
    let known = admin.board.known();
    let drains = known.iter().map(|(model, Drain { sessions, to, since })| {
        json!({"model": model, "sessions": sessions, "to": to, "since": since})
    });
    let mut shown = json!({"drains": drains.collect::<Vec<_>>()});
    if let (Some(cause), Some(shown)) = (admin.board.refusal(), shown.as_object_mut()) {
        shown.insert("unread".to_owned(), json!(cause.to_string()));
    }
    Json(shown)
}

/// `POST /admin/v1/models/{model}/drain`
pub(super) async fn drain(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    path: Named,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    let model = admin.served(&named(path)?)?;
    let Wish { sessions, to } = admin.read(body).await?;
    let to = to.map(|to| admin.open(&to)).transpose()?;
    if to.as_ref() == Some(&model) {
        return Err(invalid("invalid_target", "to must be another model"));
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let drain = Drain { sessions, to: to.clone(), since };
    admin.board.drain(&model, drain).await.map_err(store)?;
    let (who, named) = (Caller::of(peer), to.as_ref().map(ModelName::as_str));
    tracing::info!(target: "audit", %who, action = "drain", %model, ?sessions, to = named);
    Ok(Json(json!({"model": model, "sessions": sessions, "to": to, "since": since})))
}

/// `DELETE /admin/v1/models/{model}/drain`
pub(super) async fn undrain(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    path: Named,
) -> Result<Json<Value>, Refusal> {
    let name = named(path)?;
    // One that is not served any more may still be drained.
    let model = admin.served(&name).map_or(name, |model| model.to_string());
    let was_drained = admin.board.undrain(&model).await.map_err(store)?;
    if !was_drained {
        return Err(admin.served(&model).map_or_else(
            |_| unserved(),
            |_| refusal(StatusCode::NOT_FOUND, "not_drained", "this model is not drained"),
        ));
    }
    let who = Caller::of(peer);
    tracing::info!(target: "audit", %who, action = "undrain", %model);
    Ok(Json(json!({"model": model, "drained": false})))
}
