//! The stores of the library over real Redis servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test reports what is wrong by a panic"
)]

mod alone;
mod away;
mod cluster;
mod cluster_near;
mod conditions;
mod conformance;
mod faults;
mod formats;
mod in_step;
mod late;
mod lying;
mod near;
mod notes;
mod partition;
mod refusals;
mod renewals;
mod replicated;
mod replies;
mod returning;
mod rotation;
mod strict;
mod support;
mod threads;
mod unheard;
mod unreadable;
