//! `routing.mode` and `routing.policy`: which sessions are pinned, and when a pin gives way.

use affinity_layer::mode::{Cohort, Mode, Rollout, Share};
use affinity_layer::{RouteName, Scope};

use super::at::At;

/// The modes, as the file calls them.
const MODES: [(&str, Mode); 3] =
    [("enforce", Mode::Enforce), ("observe", Mode::Observe), ("off", Mode::Off)];

/// When a pinned session changes its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Never while its pin lives.
    #[default]
    Strict,
    /// Where a turn of the user begins, if the router's other choice is cheaper for the coming turn; see
    /// [`switching`](crate::switching).
    Cost {
        /// What all moves of a session may cost, of what it has spent.
        max_switch_share: Share,
    },
}

impl Policy {
    /// Moves may cost a tenth.
    const COST: Self = Self::Cost { max_switch_share: Share::percent(10) };
}

/// `policy`: a word, or `cost` with its settings.
pub(super) fn policy(at: &At<'_>) -> Policy {
    let Some(policy) = at.get("policy") else { return Policy::default() };
    if !policy.is_map() {
        let words = [("strict", Policy::Strict), ("cost", Policy::COST)];
        return policy.one_of(&words).unwrap_or_default();
    }
    let share = policy.require("cost").and_then(|cost| share(&cost, "max_switch_share"));
    share.map_or(Policy::COST, |max_switch_share| Policy::Cost { max_switch_share })
}

/// `mode`: a word for all sessions, or a default and the sessions that are treated in another way.
pub(super) fn mode(at: &At<'_>, has_tenants: bool, routes: &[RouteName]) -> Rollout {
    let Some(mode) = at.get("mode") else { return Rollout::default() };
    if !mode.is_map() {
        return Rollout::new(mode.one_of(&MODES).unwrap_or_default());
    }
    let usual = mode.require("default").and_then(|usual| usual.one_of(&MODES)).unwrap_or_default();
    let mut rollout = Rollout::new(usual);
    let mut first = None;
    for (word, other) in MODES {
        let why = match first {
            Some(first) => format!("has no effect beside {first}"),
            None => format!("has no effect with default: {word}"),
        };
        let found = mode.get_if(first.is_none() && other != usual, word, &why);
        if let Some(found) = found {
            rollout = rollout.except(other, cohort(&found, has_tenants, routes));
            first = Some(word);
        }
    }
    rollout
}

fn cohort(at: &At<'_>, has_tenants: bool, routes: &[RouteName]) -> Cohort {
    let why = "has no effect: no listener and no tenant_header names a tenant";
    let tenants = at.get_if(has_tenants, "tenants", why);
    let scopes = tenants.iter().flat_map(At::items).filter_map(|tenant| tenant.parsed(Scope::new));
    let mut named = Vec::new();
    for item in at.get("routes").iter().flat_map(At::items) {
        let Some(route) = item.parsed(RouteName::new) else { continue };
        if !routes.contains(&route) {
            item.error("no routing preference has this name");
        }
        named.push(route);
    }
    let cohort = Cohort::default().scopes(scopes).routes(named);
    share(at, "share").map_or(cohort.clone(), |share| cohort.share(share))
}

fn share(at: &At<'_>, key: &'static str) -> Option<Share> {
    at.get(key).and_then(|share| share.parsed(str::parse::<Share>))
}
