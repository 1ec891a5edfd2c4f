//! Listening: connections, their limits, client keys and the way to a stop.

mod activity;
pub(crate) mod auth;
pub(crate) mod browsers;
pub(crate) mod connection;
pub(crate) mod door;
pub(crate) mod front;
mod gate;
mod guarded;
mod linger;
mod noting;
mod refuse;
pub(crate) mod shutdown;
mod strangers;
pub(crate) mod workers;
