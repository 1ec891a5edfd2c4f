//! The providers: which of them serves a model, and how requests get there.

pub(crate) mod drains;
pub(crate) mod hop;
mod provider;
pub(crate) mod providers;
pub(crate) mod proxy;
mod stall;
pub(crate) mod watch;
