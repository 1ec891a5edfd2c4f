//! Connections to one server: how they are set up, kept alive and replaced, and the commands that
//! travel over them.
//!
//! | part | does |
//! |---|---|
//! | `client.rs` | makes a client of the library, with the settings that bound its calls |
//! | `supervised.rs` | keeps one client connected, and replaces it when it is lost |
//! | `backoff.rs` | says how long to wait before the next attempt |
//! | `doubt.rs` | notices that answers no longer match commands |
//! | `per_thread.rs` | gives a thread with a runtime of its own a connection of its own |
//! | `commands.rs` | the commands that pins need, each with a time limit |
//! | `replica_wait.rs` | lets concurrent waits for a replica share one |
//!
//! The library (`fred`) supplies the protocol, Sentinel and TLS. Its reconnecting, its queue of
//! unsent commands and its cluster mode are not used; each place says why.

mod backoff;
mod client;
mod commands;
mod doubt;
mod per_thread;
mod replica_wait;
mod supervised;

pub(super) use self::commands::Commands;
pub(crate) use self::doubt::echo;
pub(super) use self::per_thread::ThreadConnections;
pub(super) use self::replica_wait::ReplicaWait;
pub(crate) use self::supervised::SupervisedConnection;
