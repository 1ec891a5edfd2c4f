//! The protocol of claim, repin, release, near copies and reconciliation, checked exhaustively in
//! small worlds. `docs/protocol.md` tells what it says and what was found.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test reports by a panic, and prints how many states it saw"
)]

mod action;
mod environment;
mod holds;
mod limits;
mod mistakes;
mod properties;
mod redis;
mod request;
mod state;
mod variant;

use stateright::{Checker, HasDiscoveries, Model, Path};

use crate::action::Action;
use crate::variant::Variant;

/// `long` where the environment asks for the long form (`AFFINITY_MODEL=long`), else `short`.
fn size<T>(short: T, long: T) -> T {
    if std::env::var("AFFINITY_MODEL").is_ok_and(|form| form == "long") { long } else { short }
}

/// Visits every state of `variant`: all that must hold does and all that must be seen is, but for
/// what stands in `except`, of which the opposite must be so.
fn check<const N: usize, const S: usize>(name: &str, variant: Variant<N, S>, except: &[&str]) {
    let checker = variant.checker().threads(2).symmetry().spawn_dfs().join();
    assert!(checker.is_done());
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    let depth = checker.max_depth();
    println!("{name}: {N} replicas, {S} sessions: {states} states, {steps} steps, depth {depth}");
    for property in variant.properties() {
        let found = checker.discovery(property.name).map(Path::into_actions);
        let expected =
            property.expectation.discovery_is_failure() == except.contains(&property.name);
        assert_eq!(found.is_some(), expected, "{name}: {}: {found:#?}", property.name);
    }
}

/// The shortest run after which `property` does not hold; panics if there is none.
fn counterexample<const N: usize, const S: usize>(
    name: &str,
    variant: Variant<N, S>,
    property: &'static str,
) -> Vec<Action> {
    // The checker keeps the last of the runs that it finds in one go, so depth is added stepwise.
    let only = || HasDiscoveries::AllOf([property].into());
    let search = |depth| {
        let bounded = variant.checker().target_max_depth(depth).finish_when(only());
        let checker = bounded.spawn_bfs().join();
        let trace = checker.discovery(property).map(Path::into_actions);
        trace.map(|trace| (checker.unique_state_count(), trace))
    };
    let (states, trace) = (2..30).find_map(search).unwrap_or_else(|| panic!("{name}: {property}"));
    println!("{name}: {states} states until it fails that {property}:");
    trace.iter().for_each(|action| println!("    {action:?}"));
    trace
}
