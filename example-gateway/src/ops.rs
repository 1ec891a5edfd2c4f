//! What operators see and change.

pub(crate) mod admin;
pub(crate) mod drains;
pub(crate) mod ledger;
pub(crate) mod live;
pub(crate) mod shadow;
pub(crate) mod turns;
mod ui;
