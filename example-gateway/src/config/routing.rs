//! How sessions are kept.

use std::time::Duration;

use affinity_layer::{BodyId, Expiry, Fingerprint, ModelName, agents::SubAgents, mode::Rollout};
use http::HeaderName;

use super::at::At;
use super::cache::{self, SessionCache};
use super::identity;
use super::preferences;
use super::providers::Provider;
use super::rollout::{self, Policy};
use super::router::{self, Router};

/// Ten years, in seconds.
const LONGEST: u64 = 10 * 365 * 24 * 3600;
const DEFAULT_TTL: u64 = 600;
const DEFAULT_MAX_AGE: u64 = 86_400;
const DEFAULT_MAX_ENTRIES: usize = 10_000;

/// How sessions are kept, and how a request without a pin is decided.
#[derive(Clone, Debug)]
pub struct Routing {
    /// How long a pin lives.
    pub expiry: Expiry,
    /// The most pins that are kept in memory; 10,000 by default, 10 million at most.
    pub max_entries: usize,
    /// Where pins are kept.
    pub cache: SessionCache,
    /// The header that names the tenant; with it, a session without a tenant is refused.
    pub tenant_header: Option<HeaderName>,
    /// Further headers that name the session, looked at before those of the feature; none by default.
    pub session_headers: Vec<HeaderName>,
    /// Whether `session.id` in W3C baggage names the session when no header does; no by default.
    pub session_baggage: bool,
    /// Whether the provider sees the headers that name the session.
    pub forward_session_header: bool,
    /// Whether the session ids of agent clients are read, and which model their sub-agents use.
    pub agents: Option<SubAgents>,
    /// Which members of a body are read for a session id when no header names one; none by default.
    pub body_ids: Vec<BodyId>,
    /// How the session of a request that names none is guessed at; not at all by default.
    pub fingerprint: Option<Fingerprint>,
    /// Whether each model that an agent client asks for has a pin of its own.
    pub model_lanes: bool,
    /// Which sessions are pinned, and what becomes of the others; all by default.
    pub mode: Rollout,
    /// When a pin gives way to the router's other choice; not by default.
    pub policy: Policy,
    /// What ends a pin before its time.
    pub release: Release,
    /// Turns at the beginning of a session whose decision does not bind it; 0 by default.
    pub warm_up_turns: u8,
    /// Models from the weakest to the strongest: a new decision moves a session only to a stronger
    /// one. Empty: to any.
    pub escalation: Vec<ModelName>,
    /// Whether the next candidate is asked when a model fails.
    pub failover: bool,
    /// What becomes of a session that must leave its vendor, while it holds what only that vendor can read.
    pub on_move: OnMove,
    /// Whether responses carry the epoch of the pin behind them, as `x-plano-epoch`; no by default. For
    /// tests of consistency.
    pub expose_epoch: bool,
    /// Whether requests of a session name it to providers that take a `prompt_cache_key`; no by default.
    pub stamp_cache_key: bool,
    /// The share of pinned turns that is routed once more in the shadow, 0 to 1; 0 by default.
    pub regret_sample: f64,
    /// What decides a request without a pin.
    pub router: Router,
}

/// What ends a pin before its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// Nothing.
    #[default]
    Ttl,
    /// The model's word that it is done.
    FinalAnswer,
    /// A new message of the user.
    UserTurn,
}

/// What becomes of a session that must leave its vendor, while its requests hold what only that vendor can
/// read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnMove {
    /// It moves, and what the next vendor cannot read is left out.
    #[default]
    Heal,
    /// It does not move: the failure of its provider is the answer.
    Refuse,
}

pub(super) fn read(root: &At<'_>, providers: &[Provider]) -> Routing {
    let router = router::read(root, providers);
    match root.get("routing") {
        Some(at) => read_section(&at, providers, router),
        None => Routing::new(router),
    }
}

impl Routing {
    /// What holds where the file says nothing.
    fn new(router: Router) -> Self {
        Self {
            expiry: Expiry::default(),
            max_entries: DEFAULT_MAX_ENTRIES,
            cache: SessionCache::Memory,
            tenant_header: None,
            session_headers: Vec::new(),
            session_baggage: false,
            forward_session_header: true,
            agents: Some(SubAgents::default()),
            body_ids: Vec::new(),
            fingerprint: None,
            model_lanes: true,
            mode: Rollout::default(),
            policy: Policy::default(),
            release: Release::default(),
            warm_up_turns: 0,
            escalation: Vec::new(),
            failover: true,
            on_move: OnMove::default(),
            expose_epoch: false,
            stamp_cache_key: false,
            regret_sample: 0.0,
            router,
        }
    }
}

fn read_section(at: &At<'_>, providers: &[Provider], router: Router) -> Routing {
    let default = Routing::new(router);
    let session_headers = identity::session_headers(at);
    let cache_at = at.get("session_cache");
    let cache = cache_at.as_ref().map_or(default.cache, cache::read);
    let tenant_header = cache_at.and_then(|at| at.get("tenant_header"));
    let policy = rollout::policy(at);
    let release = release(at, policy);
    let agent_headers = at.flag_or("agent_headers", true);
    at.not_served(&["route_on_user_only", "routing_budget"]);
    Routing {
        expiry: expiry(at),
        max_entries: at
            .get("session_max_entries")
            .and_then(|at| at.integer(1..=10_000_000, "")?.try_into().ok())
            .unwrap_or(default.max_entries),
        tenant_header: tenant_header
            .and_then(|name| identity::tenant_header(&name, &session_headers)),
        session_headers,
        session_baggage: at.flag_or("session_baggage", default.session_baggage),
        forward_session_header: at
            .flag_or("forward_session_header", default.forward_session_header),
        agents: identity::agents(at, agent_headers),
        body_ids: identity::body_ids(at),
        fingerprint: identity::fingerprint(at, &cache),
        cache,
        model_lanes: identity::model_lanes(at, agent_headers),
        // It is read where the routes are known.
        mode: default.mode,
        policy,
        release,
        warm_up_turns: warm_up_turns(at, release, policy),
        escalation: at
            .get_if(policy == Policy::Strict, "escalation", "has no effect with policy: cost")
            .map(|order| preferences::models(&order, providers))
            .unwrap_or_default(),
        failover: at.flag_or("failover", default.failover),
        on_move: on_move(at),
        expose_epoch: at.flag_or("expose_epoch", default.expose_epoch),
        stamp_cache_key: at.flag_or("stamp_cache_key", default.stamp_cache_key),
        regret_sample: at
            .get("regret_sample")
            .and_then(|share| share.number(0.0..=1.0))
            .unwrap_or(default.regret_sample),
        router: default.router,
    }
}

fn on_move(at: &At<'_>) -> OnMove {
    let kinds = [("heal", OnMove::Heal), ("refuse", OnMove::Refuse)];
    at.get("on_move").and_then(|kind| kind.one_of(&kinds)).unwrap_or_default()
}

fn release(at: &At<'_>, policy: Policy) -> Release {
    let releases = [
        ("ttl", Release::Ttl),
        ("final_answer", Release::FinalAnswer),
        ("user_turn", Release::UserTurn),
    ];
    let release = at.get("release");
    let found = release.as_ref().and_then(|release| release.one_of(&releases)).unwrap_or_default();
    if let (Some(release), Release::UserTurn, Policy::Cost { .. }) = (release, found, policy) {
        release.error("moves a session whatever it costs, so it cannot stand beside policy: cost");
    }
    found
}

fn warm_up_turns(at: &At<'_>, release: Release, policy: Policy) -> u8 {
    let why = match policy {
        Policy::Strict => "has no effect with release: user_turn, which decides every turn again",
        Policy::Cost { .. } => "has no effect with policy: cost, which weighs every turn",
    };
    let is_effective = release != Release::UserTurn && policy == Policy::Strict;
    let turns = at
        .get_if(is_effective, "warm_up_turns", why)
        .and_then(|at| at.integer(0..=100, " of turns"));
    turns.and_then(|turns| turns.try_into().ok()).unwrap_or_default()
}

fn expiry(at: &At<'_>) -> Expiry {
    let seconds = |at: At<'_>| at.integer(1..=LONGEST, " of seconds");
    let ttl = at.get("session_ttl_seconds").and_then(seconds).unwrap_or(DEFAULT_TTL);
    let kinds = [("fixed", false), ("sliding", true)];
    let sliding = at.get("session_expiry").and_then(|kind| kind.one_of(&kinds)).unwrap_or(true);
    let why = "has no effect with session_expiry: fixed";
    let max_age = at.get_if(sliding, "session_max_age_seconds", why);
    let ttl = Duration::from_secs(ttl);
    if !sliding {
        return Expiry::fixed(ttl);
    }
    let oldest = match max_age.clone().and_then(seconds) {
        Some(oldest) => Duration::from_secs(oldest),
        None => ttl.max(Duration::from_secs(DEFAULT_MAX_AGE)),
    };
    if let Some(max_age) = max_age.filter(|_| oldest < ttl) {
        max_age.error("must not be less than session_ttl_seconds");
    }
    Expiry::sliding(ttl, oldest)
}
