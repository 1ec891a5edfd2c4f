//! What operators see and change.
//!
//! ```text
//! turns ─▶ hub ─▶ ledger   sums, since the start
//!             └─▶ live ─▶ ui   the last turns, as they happen
//! admin    shows and moves pins, drains models, and serves all of these
//! drains   what replicas agree on
//! ```
//!
//! No request waits for anything here: the stack reports through one trait, and readers that are slow lose
//! what they miss. Without the section `admin` in the configuration only `drains` is built.

pub(crate) mod admin;
pub(crate) mod drains;
pub(crate) mod hub;
pub(crate) mod ledger;
pub(crate) mod live;
mod ui;
