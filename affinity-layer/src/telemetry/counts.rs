//! Counts, through the `metrics` facade: the program chooses where they go.
//!
//! Labels are outcomes, operations and results, of which there are few; none holds a model, a
//! scope or a session.

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};
use tokio::time::Instant;

use crate::{Outcome, Rejection, StoreError, StoreErrorKind};

const REQUESTS: &str = "affinity_requests_total";
const REFUSED: &str = "affinity_refused_requests_total";
const SAVED: &str = "affinity_router_calls_saved_total";
const TOLERATED: &str = "affinity_tolerated_requests_total";
const OBSERVED: &str = "affinity_observed_requests_total";
const COALESCED: &str = "affinity_coalesced_requests_total";
const ROUTER_CALLS: &str = "affinity_router_calls_total";
const ROUTER_SECONDS: &str = "affinity_router_duration_seconds";
const STORE_CALLS: &str = "affinity_store_operations_total";
const STORE_SECONDS: &str = "affinity_store_duration_seconds";
const REPINS: &str = "affinity_repins_total";
const RELEASES: &str = "affinity_releases_total";
const EVICTIONS: &str = "affinity_evictions_total";
const EXPIRIES: &str = "affinity_expiries_total";
const COOLDOWNS: &str = "affinity_cooldowns_total";
const PASSED_OVER: &str = "affinity_passed_over_total";

/// Gives the recorder the meaning and unit of every metric of this crate, and
/// counters whose labels are known their first value, 0.
///
/// Call it once, when the recorder is installed.
///
/// | metric | type | unit | labels |
/// |---|---|---|---|
/// | `affinity_requests_total` | counter | requests | `outcome`: as in `x-plano-affinity` |
/// | `affinity_refused_requests_total` | counter | requests | `code`: as in the refusal |
/// | `affinity_tolerated_requests_total` | counter | requests | `code`: as in the refusal that was not made, because not all sessions are pinned |
/// | `affinity_observed_requests_total` | counter | requests | `pin`: same, other, unknown: whether a pin would have given the model that was routed to |
/// | `affinity_coalesced_requests_total` | counter | requests | |
/// | `affinity_router_calls_saved_total` | counter | calls | |
/// | `affinity_router_calls_total` | counter | calls | `result`: decided, no_match, not_served, failed, abandoned |
/// | `affinity_router_duration_seconds` | histogram | seconds | |
/// | `affinity_store_operations_total` | counter | calls | `operation`: get, claim, repin, release, renew, reread; `result`: found, absent, won, lost, timeout, unavailable, refused, unconfirmed, invalid, abandoned |
/// | `affinity_store_duration_seconds` | histogram | seconds | `operation` |
/// | `affinity_repins_total` | counter | pins | `reason`: decided_again, failover |
/// | `affinity_releases_total` | counter | pins | |
/// | `affinity_evictions_total`, `affinity_expiries_total` | counter | pins | `store`: memory, near |
/// | `affinity_cooldowns_total` | counter | targets | `kind`: address, credential, model, path; `cause`: connect, timeout, or a status |
/// | `affinity_passed_over_total` | counter | requests | |
///
/// An outcome is counted as decided; a later failover counts as a repin. A pin at hand is not a store
/// operation. `abandoned` is a call whose caller went away before its end.
pub fn describe_metrics() {
    for (name, what) in [
        (REQUESTS, "Requests that got a model, by outcome."),
        (REFUSED, "Requests that the layer refused, by code."),
        (TOLERATED, "Requests that would be refused if all sessions were pinned, by code."),
        (OBSERVED, "Requests of observed sessions, by what a pin would have given them."),
        (SAVED, "Requests that a pin or another request's decision kept from the router."),
        (COALESCED, "Requests that waited for a concurrent first request of their session."),
        (ROUTER_CALLS, "Routing decisions, by result."),
        (STORE_CALLS, "Calls of the store that may wait, by operation and result."),
        (REPINS, "Pins that a later decision or a failover moved, by reason."),
        (RELEASES, "Pins that were released before they expired."),
        (EVICTIONS, "Pins in memory that were evicted, by store."),
        (EXPIRIES, "Pins in memory that were dropped after they had expired, by store."),
        (COOLDOWNS, "Targets that began to cool down, by kind and cause."),
        (PASSED_OVER, "Requests that went to another model because their first one cools down."),
    ] {
        describe_counter!(name, Unit::Count, what);
    }
    describe_histogram!(ROUTER_SECONDS, Unit::Seconds, "Time of a routing decision.");
    describe_histogram!(STORE_SECONDS, Unit::Seconds, "Time of a call of the store, by operation.");
    // A series that is not there until the first failure has no rate at that failure.
    for name in [SAVED, COALESCED, RELEASES, PASSED_OVER] {
        counter!(name).absolute(0);
    }
    for pin in ["same", "other", "unknown"] {
        counter!(OBSERVED, "pin" => pin).absolute(0);
    }
    for reason in ["decided_again", "failover"] {
        counter!(REPINS, "reason" => reason).absolute(0);
    }
    for store in ["memory", "near"] {
        counter!(EVICTIONS, "store" => store).absolute(0);
        counter!(EXPIRIES, "store" => store).absolute(0);
    }
    for result in ["decided", "no_match", "not_served", "failed", "abandoned"] {
        counter!(ROUTER_CALLS, "result" => result).absolute(0);
    }
}

/// A request got a model. The names are literals here, so that a hit allocates nothing.
pub(super) fn requested(outcome: Outcome) {
    macro_rules! count {
        ($($outcome:ident: $label:literal,)*) => {
            match outcome {
                $(Outcome::$outcome => counter!("affinity_requests_total", "outcome" => $label),)*
            }
        };
    }
    let requests = count! {
        Hit: "hit",
        Claimed: "claimed",
        Joined: "joined",
        None: "none",
        Bypass: "bypass",
        Refreshed: "refreshed",
        Repinned: "repinned",
        Failed: "failed",
        Bound: "bound",
        Observed: "observed",
        StoreUnavailable: "store-unavailable",
        RouterUnavailable: "router-unavailable",
    };
    requests.increment(1);
}

/// The router was not asked, because a decision stood or was under way.
pub(crate) fn saved() {
    counter!("affinity_router_calls_saved_total").increment(1);
}

/// A request waited for the decision of another.
pub(crate) fn coalesced() {
    counter!(COALESCED).increment(1);
    saved();
}

/// A request was refused. A code is one of a few, whatever the request was.
pub(crate) fn refused(rejection: &Rejection) {
    counter!(REFUSED, "code" => rejection.code()).increment(1);
}

/// A request was not refused, because not all sessions are pinned.
pub(crate) fn tolerated(rejection: &Rejection) {
    counter!(TOLERATED, "code" => rejection.code()).increment(1);
}

/// A request of an observed session was routed; `is_same` says whether a pin would have given it the same
/// model, if that is known.
pub(crate) fn observed(is_same: Option<bool>) {
    let pin = match is_same {
        Some(true) => "same",
        Some(false) => "other",
        None => "unknown",
    };
    counter!(OBSERVED, "pin" => pin).increment(1);
}

/// A pin was changed.
pub(crate) fn moved(reason: &'static str) {
    counter!(REPINS, "reason" => reason).increment(1);
}

/// A pin was released by its request, its answer or a handler.
pub(crate) fn released() {
    counter!(RELEASES).increment(1);
}

/// A pin made room for another.
pub(crate) fn evicted(store: &'static str) {
    counter!(EVICTIONS, "store" => store).increment(1);
}

/// An expired pin was dropped.
pub(crate) fn expired(store: &'static str) {
    counter!(EXPIRIES, "store" => store).increment(1);
}

/// A target began to cool down. The cause is one of a few: two words, or a status by which a target cools.
pub(crate) fn cooled(kind: &'static str, cause: &str) {
    counter!(COOLDOWNS, "kind" => kind, "cause" => cause.to_owned()).increment(1);
}

/// A request went to another model because its first one cools down.
pub(crate) fn passed_over() {
    counter!(PASSED_OVER).increment(1);
}

/// A call of the store or the router. It is counted when it ends; one whose caller is gone ends as
/// `abandoned`. That is why the count is made in `drop`: a future that is cancelled runs nothing else.
pub(crate) struct Call {
    to: To,
    began: Instant,
    result: &'static str,
}

/// What is called; for the store, the operation.
#[derive(Clone, Copy)]
enum To {
    Router,
    Store(&'static str),
}

impl Call {
    fn new(to: To) -> Self {
        Self { to, began: Instant::now(), result: "abandoned" }
    }

    pub(crate) fn router() -> Self {
        Self::new(To::Router)
    }

    pub(crate) fn store(operation: &'static str) -> Self {
        Self::new(To::Store(operation))
    }

    /// Ends the call with `result`, one of a few. The time of the call is counted, too.
    pub(crate) fn ended(mut self, result: &'static str) {
        self.result = result;
    }

    /// Ends a call of the store; `name` says what a call that did not fail resulted in.
    pub(crate) fn answered<T>(
        self,
        result: &Result<T, StoreError>,
        name: impl FnOnce(&T) -> &'static str,
    ) {
        self.ended(match result {
            Ok(value) => name(value),
            Err(error) => match error.kind() {
                StoreErrorKind::Timeout => "timeout",
                StoreErrorKind::Unavailable => "unavailable",
                StoreErrorKind::Refused => "refused",
                StoreErrorKind::Invalid | StoreErrorKind::InvalidCursor => "invalid",
                StoreErrorKind::Unconfirmed => "unconfirmed",
            },
        });
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let (seconds, result) = (self.began.elapsed(), self.result);
        match self.to {
            To::Router => {
                counter!(ROUTER_CALLS, "result" => result).increment(1);
                histogram!(ROUTER_SECONDS).record(seconds);
            }
            To::Store(operation) => {
                counter!(STORE_CALLS, "operation" => operation, "result" => result).increment(1);
                histogram!(STORE_SECONDS, "operation" => operation).record(seconds);
            }
        }
    }
}
