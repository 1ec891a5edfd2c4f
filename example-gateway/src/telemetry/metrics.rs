//! Metrics, as Prometheus reads them.
//!
//! Labels are paths, statuses and models of the configuration; nothing that a client may choose
//! makes a new series.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use affinity_layer::store::Unready;
use affinity_layer::{ModelName, describe_metrics};
use bytes::Bytes;
use http::StatusCode;
use metrics::{
    Counter, Histogram, SharedString, Unit, counter, describe_counter, describe_gauge,
    describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::log::{LostLines, lost_lines};
use crate::prices::{Cost, TokenCounts};
use crate::switching::SwitchVerdict;

const REQUESTS: &str = "gateway_requests_total";
const UPSTREAM: &str = "gateway_upstream_requests_total";
const FIRST_BYTE: &str = "gateway_time_to_first_byte_seconds";
const SHED: &str = "gateway_shed_requests_total";
const REFUSED: &str = "gateway_refused_requests_total";
const TOKENS: &str = "gateway_tokens_total";
const WITHOUT_USAGE: &str = "gateway_turns_without_usage_total";
const WITHOUT_COST: &str = "gateway_turns_without_cost_total";
const SPENT: &str = "gateway_spent_picodollars_total";
const SAVED_BY_CACHE: &str = "gateway_saved_by_cache_picodollars_total";
const VERDICTS: &str = "gateway_pin_verdicts_total";
const OBSERVED_SWITCHES: &str = "gateway_observed_switches_total";
const OBSERVED_CACHED: &str = "gateway_observed_cached_tokens_total";
const WEIGHED: &str = "gateway_switch_decisions_total";
const SESSIONS: &str = "gateway_sessions";
const OUTGROWN: &str = "gateway_context_exceeded_total";
const COOLING: &str = "gateway_target_cooling";
const LOST_LINES: &str = "gateway_log_lines_lost_total";
const RELOADS: &str = "gateway_config_reloads_total";
const RELOADED: &str = "gateway_config_last_reload_successful";
const STORE_READY: &str = "gateway_store_ready";
const STORE_UNREADY: &str = "gateway_store_unready";

/// Seconds. A model's first byte takes milliseconds from a cache and minutes of thought.
const FIRST_BYTE_BUCKETS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// Seconds. The embedded router takes a fraction of a millisecond, a routing model up to seconds.
const ROUTER_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0];

/// Seconds. The whole budget of a request is 0.05 by default.
const STORE_BUCKETS: [f64; 10] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/// How often samples are folded into their buckets; without it they would pile up between scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Scrapes that have a text of their own at a time.
const FRESH_SCRAPES: usize = 8;

/// Time for which the others share one.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// The metrics of this process. Gateways in one process share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    scrapes: Arc<Scrapes>,
}

/// What limits the texts that clients hold, who may take them as slowly as they like.
#[derive(Debug)]
struct Scrapes {
    fresh: Arc<Semaphore>,
    /// The text for those beyond, and when it was made.
    shared: Mutex<Option<(Instant, Bytes)>>,
}

/// A text for a scrape. It may be dropped when the text is taken.
#[derive(Debug)]
pub(crate) struct Scrape {
    pub(crate) text: Bytes,
    pub(crate) place: Option<OwnedSemaphorePermit>,
}

impl Metrics {
    /// Starts counting, the first time that it is called.
    ///
    /// # Errors
    ///
    /// When another recorder was installed before.
    pub(crate) fn start() -> io::Result<Self> {
        static METRICS: OnceLock<Result<Metrics, String>> = OnceLock::new();
        let metrics = METRICS.get_or_init(|| {
            let handle = install().map_err(|error| error.to_string())?;
            let fresh = Arc::new(Semaphore::new(FRESH_SCRAPES));
            let scrapes = Arc::new(Scrapes { fresh, shared: Mutex::default() });
            Ok(Self { handle, scrapes })
        });
        metrics.clone().map_err(io::Error::other)
    }

    /// The text for a scrape: made for it, unless too many still hold theirs; then all share one, which is
    /// a second old at most.
    pub(crate) fn scrape(&self) -> Scrape {
        if let Ok(place) = self.scrapes.fresh.clone().try_acquire_owned() {
            return Scrape { text: self.render().into(), place: Some(place) };
        }
        let mut shared = self.scrapes.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let young = shared.as_ref().filter(|(made, _)| made.elapsed() < SHARED_FOR);
        let text = young.map(|(_, text)| text.clone());
        let text = text.unwrap_or_else(|| {
            let text = Bytes::from(self.render());
            *shared = Some((Instant::now(), text.clone()));
            text
        });
        Scrape { text, place: None }
    }

    fn render(&self) -> String {
        let LostLines { unread, repeated } = lost_lines();
        counter!(LOST_LINES, "why" => "unread").absolute(unread);
        counter!(LOST_LINES, "why" => "repeated").absolute(repeated);
        self.handle.render()
    }

    /// Keeps what is counted small, for ever.
    pub(crate) async fn keep_up(self) {
        let mut pace = tokio::time::interval(UPKEEP);
        loop {
            pace.tick().await;
            self.handle.run_upkeep();
        }
    }
}

fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let named = |name: &str| Matcher::Full(name.to_owned());
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(named(FIRST_BYTE), &FIRST_BYTE_BUCKETS)?
        .set_buckets_for_metric(named("affinity_router_duration_seconds"), &ROUTER_BUCKETS)?
        .set_buckets_for_metric(named("affinity_store_duration_seconds"), &STORE_BUCKETS)?
        .install_recorder()?;
    describe_metrics();
    describe_counter!(REQUESTS, Unit::Count, "Requests that were answered, by path and status.");
    describe_counter!(SHED, Unit::Count, "Requests turned away because of load, by reason.");
    for reason in ["body_memory", "connections", "requests", "session_waiters"] {
        counter!(SHED, "reason" => reason).absolute(0);
    }
    let what = "Answers of providers by configured model and status; without one, what went wrong.";
    describe_counter!(UPSTREAM, Unit::Count, what);
    let what = "Requests that were refused before a path was looked for, by error code.";
    describe_counter!(REFUSED, Unit::Count, what);
    let what =
        "Tokens that providers report, by configured model and kind; cached ones are prompt too.";
    describe_counter!(TOKENS, Unit::Count, what);
    let what = "Turns for which the provider did not report the tokens of the prompt, by model.";
    describe_counter!(WITHOUT_USAGE, Unit::Count, what);
    let what = "Turns whose cost is unknown, by model: no price, or tokens that were not reported.";
    describe_counter!(WITHOUT_COST, Unit::Count, what);
    let what =
        "What turns cost, in picodollars (10^-12 US dollars), by model, route and whether pinned.";
    describe_counter!(SPENT, what);
    let what = "How much more cached tokens would have cost as plain input, in picodollars.";
    describe_counter!(SAVED_BY_CACHE, what);
    let what =
        "Pinned turns that were routed once more in the shadow, by the pin's route and verdict.";
    describe_counter!(VERDICTS, Unit::Count, what);
    let what = "Changes of model in observed sessions, by route: those of their own course, and those \
                that they would have had with pins.";
    describe_counter!(OBSERVED_SWITCHES, Unit::Count, what);
    let what = "Cached tokens of observed sessions, by route: those counted, and those expected with pins.";
    describe_counter!(OBSERVED_CACHED, Unit::Count, what);
    let what = "Turns of users for which the router chose another model, by what came of it.";
    describe_counter!(WEIGHED, Unit::Count, what);
    for verdict in SwitchVerdict::ALL {
        counter!(WEIGHED, "verdict" => verdict.as_str()).absolute(0);
    }
    let what = "Time from a request's arrival to the first byte of the provider's answer.";
    describe_histogram!(FIRST_BYTE, Unit::Seconds, what);
    let what = "Log lines not written: nobody read the log, or too many of one kind.";
    describe_counter!(LOST_LINES, Unit::Count, what);
    describe_counter!(RELOADS, Unit::Count, "Reloads of the configuration, by result.");
    describe_gauge!(RELOADED, "0 while the last reload of the configuration was rejected, else 1.");
    describe_gauge!(SESSIONS, Unit::Count, "Pins in this process, by store.");
    let what = "Requests that were too long for a model, by model and how that was known.";
    describe_counter!(OUTGROWN, Unit::Count, what);
    describe_gauge!(COOLING, "1 while a target of the configuration cools down, by kind and name.");
    describe_gauge!(STORE_UNREADY, "1 for the cause why gateway_store_ready is 0.");
    describe_gauge!(STORE_READY, "1 while sessions are kept where the configuration says, else 0.");
    Ok(handle)
}

/// Answers by path and status. Looking a series up costs more than counting, so those of what
/// succeeds are held.
#[derive(Clone, Debug)]
pub(crate) struct Answers(Vec<(String, Counter)>);

impl Answers {
    /// For the `paths` that are served.
    pub(crate) fn new(paths: impl IntoIterator<Item = String>) -> Self {
        let held = |path: String| {
            let ok = counter!(REQUESTS, "path" => path.clone(), "status" => "200");
            (path, ok)
        };
        Self(paths.into_iter().map(held).collect())
    }

    /// A request of `path` was answered.
    pub(crate) fn count(&self, path: &str, status: StatusCode) {
        let held = self.0.iter().find(|(held, _)| held == path);
        if let (Some((_, ok)), StatusCode::OK) = (held, status) {
            return ok.increment(1);
        }
        let (path, status) = (path.to_owned(), status.as_str().to_owned());
        counter!(REQUESTS, "path" => path, "status" => status).increment(1);
    }
}

/// A request was turned away, because there was too much of what `reason` names.
pub(crate) fn shed(reason: &'static str) {
    counter!(SHED, "reason" => reason).increment(1);
}

/// A request was refused at the door, before any path was looked for; `code` is that of the error.
pub(crate) fn refused(code: &'static str) {
    counter!(REFUSED, "code" => code).increment(1);
}

/// How many pins this process holds, in which kind of store, and whether they are kept where the
/// configuration says.
pub(crate) fn sessions(store: &'static str, count: usize, unready: Option<&Unready>) {
    gauge!(SESSIONS, "store" => store).set(as_f64(count));
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    gauge!(STORE_READY).set(flag(unready.is_none()));
    for cause in Unready::LABELS {
        let is_this = unready.is_some_and(|unready| unready.label() == *cause);
        gauge!(STORE_UNREADY, "cause" => *cause).set(flag(is_this));
    }
}

/// A request was too long for `model`: by our estimate, or as its provider answered.
pub(crate) fn outgrown(model: &ModelName, how: &'static str) {
    counter!(OUTGROWN, "model" => model.to_string(), "how" => how).increment(1);
}

/// Which targets of the configuration cool down, and which do not.
pub(crate) fn cooling<'a>(targets: impl Iterator<Item = (&'static str, &'a str, bool)>) {
    static SHOWN: Mutex<BTreeMap<(&str, String), bool>> = Mutex::new(BTreeMap::new());
    let mut shown = SHOWN.lock().unwrap_or_else(PoisonError::into_inner);
    // One that has left the configuration must not stay as it was last.
    shown.values_mut().for_each(|cools| *cools = false);
    shown.extend(targets.map(|(kind, target, cools)| ((kind, target.to_owned()), cools)));
    for ((kind, target), cools) in &*shown {
        let gauge = gauge!(COOLING, "kind" => *kind, "target" => target.clone());
        gauge.set(if *cools { 1.0 } else { 0.0 });
    }
}

/// Whether the reload that was just asked for was made; `None` at the start.
pub(crate) fn configured(reloaded: Option<bool>) {
    gauge!(RELOADED).set(if reloaded == Some(false) { 0.0 } else { 1.0 });
    for (result, this) in [("applied", true), ("rejected", false)] {
        counter!(RELOADS, "result" => result).increment(u64::from(reloaded == Some(this)));
    }
}

/// Tokens of `models` are going to be counted.
pub(crate) fn expect_costs<'a>(models: impl Iterator<Item = &'a ModelName>) {
    for model in models {
        for kind in ["prompt", "cached", "written", "output"] {
            counter!(TOKENS, "model" => model.to_string(), "kind" => kind).absolute(0);
        }
        counter!(WITHOUT_USAGE, "model" => model.to_string()).absolute(0);
        counter!(WITHOUT_COST, "model" => model.to_string()).absolute(0);
    }
}

/// Under which labels a turn is counted, each of which the configuration bounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TurnKind<'a> {
    pub(crate) model: &'a ModelName,
    pub(crate) route: &'a str,
    pub(crate) is_pinned: bool,
}

/// A turn has ended that used these tokens, as far as the provider reported them, and cost so much if that
/// is known.
pub(crate) fn turn_cost(kind: &TurnKind<'_>, tokens: &TokenCounts, cost: Option<&Cost>) {
    let TurnKind { model, route, is_pinned } = *kind;
    let TokenCounts { prompt, cached, written, output, .. } = *tokens;
    let counts = [("prompt", prompt), ("cached", cached), ("written", written), ("output", output)];
    for (kind, tokens) in counts {
        if let Some(tokens) = tokens {
            counter!(TOKENS, "model" => model.to_string(), "kind" => kind).increment(tokens);
        }
    }
    if prompt.is_none() {
        counter!(WITHOUT_USAGE, "model" => model.to_string()).increment(1);
    }
    let Some(cost) = cost else {
        return counter!(WITHOUT_COST, "model" => model.to_string()).increment(1);
    };
    let pinned = if is_pinned { "true" } else { "false" };
    for (name, amount) in [(SPENT, cost.spent), (SAVED_BY_CACHE, cost.saved_by_cache)] {
        let (model, route) = (model.to_string(), route.to_owned());
        counter!(name, "model" => model, "route" => route, "pinned" => pinned)
            .increment(amount.get());
    }
}

/// Pins of `routes` are going to be judged by one of `labels`.
pub(crate) fn expect_verdicts<'a, const N: usize>(
    routes: impl Iterator<Item = &'a String>,
    labels: [&'static str; N],
) {
    for route in routes {
        for verdict in labels {
            verdicts(route, verdict).absolute(0);
        }
    }
}

/// What the router would have done with a turn that a pin of `route` served.
pub(crate) fn judged(route: &str, verdict: &'static str) {
    verdicts(route, verdict).increment(1);
}

/// A turn of an observed session has ended: what came of it, and what a pin would have made of it.
pub(crate) fn observed(route: &str, switches: [u64; 2], cached: [u64; 2]) {
    for (name, counts) in [(OBSERVED_SWITCHES, switches), (OBSERVED_CACHED, cached)] {
        for (course, count) in ["routed", "pinned"].into_iter().zip(counts) {
            counter!(name, "route" => route.to_owned(), "course" => course).increment(count);
        }
    }
}

/// A session stayed or moved where a turn of the user began.
pub(crate) fn weighed(verdict: SwitchVerdict) {
    counter!(WEIGHED, "verdict" => verdict.as_str()).increment(1);
}

fn verdicts(route: &str, verdict: &'static str) -> Counter {
    counter!(VERDICTS, "route" => route.to_owned(), "verdict" => verdict)
}

/// What is counted of the calls for one configured model. Looking a series up costs more than
/// counting, so the usual ones are held.
#[derive(Clone, Debug)]
pub(crate) struct Upstream {
    model: SharedString,
    ok: Counter,
    pinned: Histogram,
    routed: Histogram,
}

impl Upstream {
    pub(crate) fn new(model: &str) -> Self {
        let model = SharedString::from(Arc::<str>::from(model));
        let first_byte =
            |pinned| histogram!(FIRST_BYTE, "model" => model.clone(), "pinned" => pinned);
        Self {
            ok: counter!(UPSTREAM, "model" => model.clone(), "status" => "200"),
            pinned: first_byte("true"),
            routed: first_byte("false"),
            model,
        }
    }

    /// The provider answered with `status`, or failed in the way that it says.
    pub(crate) fn answered(&self, status: &str) {
        if status == "200" {
            return self.ok.increment(1);
        }
        let (model, status) = (self.model.clone(), status.to_owned());
        counter!(UPSTREAM, "model" => model, "status" => status).increment(1);
    }

    /// The first byte of the provider's answer was there.
    pub(crate) fn first_byte(&self, pinned: bool, after: Duration) {
        if pinned { &self.pinned } else { &self.routed }.record(after);
    }
}

#[expect(clippy::cast_precision_loss, reason = "there are never 2^53 sessions")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn scrapes_that_nobody_takes_share_their_text() {
        let metrics = Metrics::start().unwrap();
        let held: Vec<_> = (0..FRESH_SCRAPES).map(|_| metrics.scrape()).collect();
        assert!(held.iter().all(|scrape| scrape.place.is_some()));
        let shared = [(); 100].map(|()| metrics.scrape());
        assert!(shared.iter().all(|other| other.text.as_ptr() == shared[0].text.as_ptr()));
        tokio::time::advance(SHARED_FOR).await;
        assert_ne!(metrics.scrape().text.as_ptr(), shared[0].text.as_ptr(), "a second old at most");
        drop(held);
        assert!(metrics.scrape().place.is_some());
    }
}
