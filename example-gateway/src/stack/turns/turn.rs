//! A turn, as reported.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use affinity_layer::{Epoch, ModelName, Outcome, RouteName, admin::StoredKey};
use serde::{Deserialize, Serialize, Serializer};

use super::tag::SessionTag;
use crate::prices::{Cost, TokenCounts};

/// One request and its answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Turn {
    /// When the request came in, in Unix milliseconds.
    #[serde(serialize_with = "unix_millis")]
    pub(crate) at: SystemTime,
    /// The session with its scope and lane, by the short name that people see; `None` without one.
    pub(crate) session: Option<SessionTag>,
    /// What the pin of the session is called in the store, for who steers it.
    #[serde(skip)]
    pub(crate) keys: Vec<StoredKey>,
    /// The tenant, if there is one.
    pub(crate) scope: Option<String>,
    /// The requested model, `None` for `auto`.
    pub(crate) requested: Option<ModelName>,
    /// The model that served.
    pub(crate) model: ModelName,
    /// The route that matched, if one did.
    pub(crate) route: Option<RouteName>,
    /// How the model was found.
    #[serde(serialize_with = "outcome")]
    pub(crate) outcome: Outcome,
    /// Whether the model came from a pin that stood before.
    pub(crate) pinned: bool,
    /// The generation of the pin, if there is one.
    #[serde(serialize_with = "epoch")]
    pub(crate) epoch: Option<Epoch>,
    /// Whether another model answered the turn of the session before.
    pub(crate) switched: bool,
    /// How long the router took; `None` when it was not asked.
    #[serde(rename = "router_us", serialize_with = "some_micros")]
    pub(crate) router: Option<Duration>,
    /// From the arrival of the request to the first byte of the answer; `None` if there was none.
    #[serde(rename = "first_byte_us", serialize_with = "some_micros")]
    pub(crate) first_byte: Option<Duration>,
    /// From the arrival of the request to the end of the answer.
    #[serde(rename = "total_us", serialize_with = "micros")]
    pub(crate) total: Duration,
    /// The status of the answer; `None` when the client was gone before there was one.
    pub(crate) status: Option<u16>,
    /// Whether the answer came to its end; else the client, or the provider, broke it off.
    pub(crate) complete: bool,
    /// The model that would have served, had it not been cooling down.
    pub(crate) passed_over: Option<ModelName>,
    /// What the provider has counted.
    #[serde(flatten)]
    pub(crate) tokens: TokenCounts,
    /// What it cost; `None` if that is not known.
    pub(crate) cost: Option<Cost>,
    /// What is done with the pin of its session.
    pub(crate) group: Group,
    /// The model that a pin would have given; for observed sessions, as far as it is known.
    pub(crate) would_pin: Option<ModelName>,
}

/// What is done with the pins of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Group {
    /// The session is pinned.
    Enforced,
    /// It is not, and it is noted what a pin would have done.
    Observed,
    /// There is no session, or it is left alone.
    None,
}

impl Turn {
    /// Whether the provider may have counted tokens for it; a refusal costs none.
    pub(crate) fn may_cost(&self) -> bool {
        self.status.is_none_or(|status| (200..300).contains(&status))
    }
}

pub(super) fn unix_millis<S: Serializer>(
    at: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
impl Turn {
    /// A turn of `model` that was answered, of no session and without tokens.
    pub(crate) fn of_model(model: ModelName) -> Self {
        Self {
            at: UNIX_EPOCH,
            session: None,
            keys: Vec::new(),
            scope: None,
            requested: None,
            model,
            route: None,
            outcome: Outcome::None,
            pinned: false,
            epoch: None,
            switched: false,
            router: None,
            first_byte: None,
            total: Duration::ZERO,
            status: Some(200),
            complete: true,
            passed_over: None,
            tokens: TokenCounts::default(),
            cost: None,
            group: Group::None,
            would_pin: None,
        }
    }
}

fn outcome<S: Serializer>(outcome: &Outcome, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.as_str())
}

fn epoch<S: Serializer>(epoch: &Option<Epoch>, serializer: S) -> Result<S::Ok, S::Error> {
    epoch.map(|Epoch(epoch)| epoch).serialize(serializer)
}

fn micros<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(as_micros(*time))
}

fn some_micros<S: Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(as_micros).serialize(serializer)
}

fn as_micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
