//! What operators see and change.

pub(crate) mod admin;
pub(crate) mod drains;
pub(crate) mod hub;
pub(crate) mod ledger;
pub(crate) mod live;
mod ui;
