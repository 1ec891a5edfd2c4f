//! The layer as an application sees it.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports what is wrong by a panic"
)]

mod agents;
mod body_ids;
mod broken_store;
mod by_head;
mod checked_bodies;
mod client_side;
mod coherence;
mod common;
mod conversations;
mod cooldown;
#[cfg(feature = "metrics")]
mod counts;
mod crates;
mod decide;
mod decided;
mod detour;
mod epochs;
mod escalation;
mod failover;
mod fingerprint;
mod first_event;
mod giving_up;
mod header_names;
mod holders;
mod invariants;
mod key_settings;
mod memory_store;
mod mode;
mod mutants;
mod observers;
mod recognised;
mod refusals;
mod release;
mod request_bodies;
mod router_failures;
mod routers;
mod running_answers;
mod semantics;
mod shared_flights;
mod slow_links;
mod slow_moves;
mod slow_releases;
mod spans;
mod stacking;
mod store_failures;
mod store_model;
mod talk;
mod tower_contract;
mod waiters;
mod warm_up;
