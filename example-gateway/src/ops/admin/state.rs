//! What the handlers of the admin API share.
//!
//! [`Admin`] is the state of the router that [`app`](crate::app) puts on the admin listener. It has the same
//! store, models and board as the stack, so what an operator changes is what requests find.

use std::fmt;
use std::sync::Arc;

use affinity_layer::{AffinityStore, Expiry, ModelName};
use axum::body::Body;
use axum::extract::Extension;
use http::StatusCode;
use serde::de::DeserializeOwned;

use super::refusal::{Refusal, invalid, refusal, unserved};
use crate::config::{Config, Limits};
use crate::extensions::Peer;
use crate::ops::drains::Board;
use crate::ops::hub::TurnHub;
use crate::ops::live::feed::Live;
use crate::stack::condition::Condition;
use crate::stack::intake::collect;
use crate::stack::sessions::Sessions;
use crate::upstream::providers::{Requested, Upstreams};

/// The largest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;

/// Who asks; as the log names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller(Option<Peer>);

impl Caller {
    pub(super) fn of(peer: Option<Extension<Peer>>) -> Self {
        Self(peer.map(|Extension(peer)| peer))
    }
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(Peer(peer)) => write!(f, "admin at {peer}"),
            None => f.write_str("admin"),
        }
    }
}

/// What is seen and steered.
#[derive(Clone, Debug)]
pub(crate) struct Admin {
    pub(crate) sessions: Sessions,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) board: Board,
    pub(crate) turns: TurnHub,
    pub(crate) live: Live,
    pub(crate) condition: Condition,
    /// That of the sessions.
    pub(crate) expiry: Expiry,
    pub(crate) limits: Limits,
}

impl Admin {
    /// What `config` has steered.
    pub(crate) fn new(
        config: &Config,
        sessions: &Sessions,
        upstreams: &Arc<Upstreams>,
        board: Board,
        (turns, live): (TurnHub, Live),
        condition: Condition,
    ) -> Self {
        Self {
            board,
            turns,
            live,
            condition,
            sessions: sessions.clone(),
            upstreams: upstreams.clone(),
            expiry: config.routing.expiry,
            limits: Limits { body_bytes: MAX_BODY, ..config.limits },
        }
    }

    /// The body of a request, within the limits.
    pub(super) async fn read<T: DeserializeOwned>(&self, body: Body) -> Result<T, Refusal> {
        let bytes = collect(body, &self.limits, None).await?.join();
        serde_json::from_slice(&bytes)
            .map_err(|error| invalid("invalid_json", format!("the body cannot be read: {error}")))
    }

    /// The model that a request means.
    pub(super) fn served(&self, name: &str) -> Result<ModelName, Refusal> {
        match self.upstreams.requested(name) {
            Some(Requested::Model(model)) => Ok(model),
            Some(Requested::Auto) | None => Err(unserved()),
        }
    }

    /// The same, for one that sessions will get.
    pub(super) fn open(&self, name: &str) -> Result<ModelName, Refusal> {
        let model = self.served(name)?;
        if self.upstreams.drains().holds(&model) {
            return Err(refusal(StatusCode::CONFLICT, "model_drained", "this model is drained"));
        }
        Ok(model)
    }

    /// Waits until all replicas know a change, so that its author finds it on each of them.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(self.sessions.store().coherence()).await;
    }
}
