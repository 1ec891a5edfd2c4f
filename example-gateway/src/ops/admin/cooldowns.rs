//! Targets that failed lately: what is passed over, why, and for how long.
//!
//! An operator who has mended a key or a provider does not have to wait until a request finds out. What is
//! shown and cleared is this replica's: each learns by itself.

use affinity_layer::cooldown::{CoolingTarget, Target};
use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal::{Refusal, query, refusal};
use super::state::{Admin, Caller};
use crate::extensions::Peer;

/// Which targets are meant; all without a name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    kind: Option<String>,
    target: Option<String>,
}

impl Named {
    fn means(&self, target: &Target) -> bool {
        self.kind.as_deref().is_none_or(|kind| kind == target.kind().as_str())
            && self.target.as_deref().is_none_or(|name| name == target.name())
    }
}

/// `GET /admin/v1/cooldowns`
pub(super) async fn list(State(admin): State<Admin>) -> Json<Value> {
    let mut cooling = admin.upstreams.cooldowns().list();
    cooling.sort_by(|one, other| {
        let place =
            |cooling: &CoolingTarget| (cooling.target.kind(), cooling.target.name().to_owned());
        place(one).cmp(&place(other))
    });
    Json(json!({"cooldowns": cooling.iter().map(shown).collect::<Vec<_>>()}))
}

/// `DELETE /admin/v1/cooldowns`
pub(super) async fn clear(
    State(admin): State<Admin>,
    peer: Option<Extension<Peer>>,
    named: Result<Query<Named>, QueryRejection>,
) -> Result<Json<Value>, Refusal> {
    let named = query(named)?;
    let cooldowns = admin.upstreams.cooldowns();
    let meant = cooldowns.list().into_iter().filter(|cooling| named.means(&cooling.target));
    let cleared: Vec<_> = meant.filter(|cooling| cooldowns.clear(&cooling.target)).collect();
    if cleared.is_empty() && named.target.is_some() {
        let text = "no such target cools down; GET /admin/v1/cooldowns lists those that do";
        return Err(refusal(StatusCode::NOT_FOUND, "not_cooling", text));
    }
    let (who, count) = (Caller::of(peer), cleared.len());
    tracing::info!(target: "audit", %who, action = "clear_cooldowns", kind = named.kind, name = named.target, count);
    Ok(Json(json!({"cleared": count})))
}

fn shown(cooling: &CoolingTarget) -> Value {
    let CoolingTarget { target, cause, model, failures, left, is_tried, .. } = cooling;
    let state = match (is_tried, left.is_zero()) {
        (true, _) => "tried",
        (false, true) => "due",
        (false, false) => "cooling",
    };
    json!({
        "kind": target.kind().as_str(),
        "target": target.name(),
        "state": state,
        "cause": cause.as_str(),
        "model": model,
        "failures": failures,
        "seconds_left": left.as_secs() + u64::from(left.subsec_nanos() > 0),
    })
}
