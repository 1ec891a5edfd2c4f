//! Listening: connections, their limits, client keys and the way to a stop.
//!
//! ```text
//! door       accepts a connection, if there is a place for it
//!  └ workers     the thread that serves it from then on
//!     └ connection   what a proxy says first (begun); hyper, and a watch over the client (activity, noting)
//!        └ gate, browsers   may any path see this request?
//!           └ front         which path, and does it need a client key?
//!              └ stack
//! ```
//!
//! Nothing here knows a model or a session. It guards against clients that are many, slow or not ours:
//! places are counted, and every wait has a limit.

mod activity;
pub(crate) mod auth;
mod begun;
pub(crate) mod browsers;
pub(crate) mod connection;
pub(crate) mod door;
mod forwarded;
pub(crate) mod front;
mod gate;
mod guarded;
mod linger;
mod noting;
pub(crate) mod places;
mod refuse;
pub(crate) mod shutdown;
mod strangers;
pub(crate) mod switch;
pub(crate) mod workers;
