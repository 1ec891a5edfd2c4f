//! Which sessions are pinned, and which are only observed or left alone.
//!
//! A [`Mode`] says what is done with pins. A [`Rollout`] gives one to every session, and another to those
//! that you name: a share of them, tenants, routes. So pins can be tried on real traffic before a request
//! depends on them, and then introduced step by step:
//!
//! ```
//! use affinity_layer::mode::{Cohort, Mode, Rollout, Share};
//! # use affinity_layer::{AffinityLayer, BoxError, MemoryStore, RouteDecision, RouteRequest};
//! # let router = tower::service_fn(|_: RouteRequest| async { Ok::<_, BoxError>(RouteDecision::none()) });
//! # let affinity = AffinityLayer::new(MemoryStore::default(), router);
//!
//! // First: nobody is pinned, and what pins would have done is counted.
//! let observed = affinity.clone().mode(Mode::Observe);
//! // Then: a tenth of the sessions.
//! let tenth = Cohort::default().share(Share::percent(10));
//! let tenth = affinity.clone().mode(Rollout::new(Mode::Observe).except(Mode::Enforce, tenth));
//! // At last: all of them, which is the default.
//! let all = affinity.mode(Mode::Enforce);
//! # let _ = (observed, tenth, all);
//! ```
//!
//! # Rules
//!
//! 1. A session that is not enforced is routed and answered as if the request named none: each request by
//!    itself, with nothing waited for in the store, and no id is refused. Its responses say
//!    `x-plano-affinity: observed`, or `none` where its mode is [`Off`](Mode::Off).
//! 2. An observed session has a claim of its own under [another key](crate::AffinityKey::is_observed): made
//!    by the first decision, atomically and for all replicas, with the lifetime of a pin. It is kept beside
//!    the request, which does not wait for it, and no request is ever served by it. An
//!    [`ObservedPin`](crate::ext::ObservedPin) in the request's extensions says what it would have done.
//! 3. A share is one of sessions and not of requests, and the same in all processes. Whoever is in a share is
//!    in every larger one, so a session that is pinned stays so while the share grows.
//! 4. With routes, the route of each decision says whether it makes a pin. So a request whose session has no
//!    pin reads the store first, and first requests of one session do not share a decision.
//! 5. A session with a pin is enforced until its pin ends, whatever the route of a later decision.

mod share;

use std::collections::HashSet;
use std::fmt;
use std::hash::Hasher;

use siphasher::sip::SipHasher13;

pub use self::share::{Share, UnreadableShare};
use crate::{AffinityKey, RouteName, Scope};

/// What is done with the pins of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mode {
    /// The session is pinned.
    #[default]
    Enforce,
    /// The session is not pinned, and it is noted what a pin would have done.
    Observe,
    /// The session is not pinned, and nothing is kept of it.
    Off,
}

/// Sessions: those of a share, of tenants and of routes, whichever applies. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    share: Share,
    scopes: HashSet<Scope>,
    routes: HashSet<RouteName>,
}

impl Cohort {
    /// Takes in this share of all sessions, by a hash of the session's id and tenant: all lanes of a
    /// session are in or out together.
    #[must_use]
    pub fn share(self, share: Share) -> Self {
        Self { share, ..self }
    }

    /// Takes in the sessions of these tenants.
    #[must_use]
    pub fn scopes(mut self, scopes: impl IntoIterator<Item = Scope>) -> Self {
        self.scopes.extend(scopes);
        self
    }

    /// Takes in the decisions with these routes; see rule 4 of the [module docs](self).
    #[must_use]
    pub fn routes(mut self, routes: impl IntoIterator<Item = RouteName>) -> Self {
        self.routes.extend(routes);
        self
    }

    fn holds(&self, key: &AffinityKey) -> bool {
        let has_scope = || self.scopes.iter().any(|scope| Some(scope.as_str()) == key.scope());
        has_scope() || lot(key) < u64::from(self.share.millionths())
    }
}

/// The number that a session draws, less than a million. The hash is the same in every process and version:
/// a share that changed its members with an update would move the sessions of all.
fn lot(key: &AffinityKey) -> u64 {
    let mut hasher = SipHasher13::new();
    let [kind, scope, session, _lane] = key.parts();
    for part in [kind, scope, session] {
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    let part = u128::from(hasher.finish()) * u128::from(Share::ALL.millionths());
    u64::try_from(part >> u64::BITS).unwrap_or_default()
}

/// The mode of every session; see the [module docs](self). The default enforces pins for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollout {
    usual: Mode,
    exception: Option<(Mode, Cohort)>,
}

impl Rollout {
    /// One mode for all sessions.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { usual: mode, exception: None }
    }

    /// Another mode for the sessions of `cohort`. A second call replaces the first.
    #[must_use]
    pub fn except(self, mode: Mode, cohort: Cohort) -> Self {
        Self { exception: Some((mode, cohort)), ..self }
    }

    /// Whether all sessions are pinned.
    pub(crate) fn enforces_all(&self) -> bool {
        self.usual == Mode::Enforce && self.exception.is_none()
    }

    /// The mode of the session of `key`; `None` if the route of its next decision says.
    pub(crate) fn mode_of(&self, key: &AffinityKey) -> Option<Mode> {
        match &self.exception {
            Some((mode, cohort)) if cohort.holds(key) => Some(*mode),
            Some((mode, cohort)) if *mode != self.usual && !cohort.routes.is_empty() => None,
            _ => Some(self.usual),
        }
    }

    /// The mode of a session of which [`mode_of`](Self::mode_of) knows nothing, by the route of a decision.
    pub(crate) fn mode_of_route(&self, route: Option<&RouteName>) -> Mode {
        match (&self.exception, route) {
            (Some((mode, cohort)), Some(route)) if cohort.routes.contains(route) => *mode,
            _ => self.usual,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Enforce => "enforce",
            Self::Observe => "observe",
            Self::Off => "off",
        })
    }
}

impl fmt::Display for Rollout {
    /// In words, without the names of tenants and routes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.usual)?;
        let Some((mode, Cohort { share, scopes, routes })) = &self.exception else { return Ok(()) };
        let (tenants, routes) = (scopes.len(), routes.len());
        write!(f, ", but {mode} for {share} of sessions, {tenants} tenants and {routes} routes")
    }
}

impl From<Mode> for Rollout {
    fn from(mode: Mode) -> Self {
        Self::new(mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> AffinityKey {
        AffinityKey::new(&format!("session-{n}")).unwrap()
    }

    fn share(percent: u8) -> Cohort {
        Cohort::default().share(Share::percent(percent))
    }

    #[test]
    fn a_share_grows_and_loses_no_session() {
        let mut before = HashSet::new();
        for percent in [0, 1, 10, 50, 100] {
            let cohort = share(percent);
            let now: HashSet<usize> = (0..20_000).filter(|n| cohort.holds(&key(*n))).collect();
            assert!(before.is_subset(&now));
            let expected = 20_000 * usize::from(percent) / 100;
            assert!(now.len().abs_diff(expected) < 400, "{} of {percent} %", now.len());
            before = now;
        }
        assert_eq!(before.len(), 20_000);
    }

    #[test]
    fn the_lots_of_sessions_are_the_same_in_every_version() {
        let scoped = key(1).with_scope(Some(Scope::new("acme").unwrap()));
        assert_eq!([lot(&key(1)), lot(&key(2)), lot(&scoped)], [136_132, 810_858, 344_210]);
    }

    #[test]
    fn a_session_is_wholly_in_a_share_and_a_tenant_makes_another_of_it() {
        let tenth = share(10);
        for n in 0..1_000 {
            let lane = key(n).with_lane("reviewer").unwrap();
            assert_eq!(tenth.holds(&key(n)), tenth.holds(&lane));
        }
        let scoped = |n| key(n).with_scope(Some(Scope::new("acme").unwrap()));
        assert!((0..1_000).any(|n| tenth.holds(&key(n)) != tenth.holds(&scoped(n))));
    }

    #[test]
    fn tenants_and_shares_are_known_by_the_session_and_routes_by_the_decision() {
        let scope = Scope::new("acme").unwrap();
        let route = RouteName::new("code").unwrap();
        let cohort = Cohort::default().scopes([scope.clone()]).routes([route.clone()]);
        let rollout = Rollout::new(Mode::Observe).except(Mode::Enforce, cohort);
        assert!(!rollout.enforces_all());
        assert_eq!(rollout.mode_of(&key(1).with_scope(Some(scope))), Some(Mode::Enforce));
        assert_eq!(rollout.mode_of(&key(1)), None);
        assert_eq!(rollout.mode_of_route(Some(&route)), Mode::Enforce);
        assert_eq!(rollout.mode_of_route(Some(&RouteName::new("chat").unwrap())), Mode::Observe);
        assert_eq!(rollout.mode_of_route(None), Mode::Observe);
        let all = Rollout::from(Mode::Off);
        assert_eq!(
            (all.mode_of(&key(1)), all.mode_of_route(Some(&route))),
            (Some(Mode::Off), Mode::Off)
        );
        assert!(Rollout::default().enforces_all());
    }
}
