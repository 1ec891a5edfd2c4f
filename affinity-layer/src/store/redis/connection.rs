//! Connections to one server: how they are set up, kept alive and replaced, and the commands that
//! travel over them.
//!
//! | part | does |
//! |---|---|
//! | `client.rs` | a client of the library, with the settings that bound its calls |
//! | `dial.rs`, `greeting.rs` | open a stream to the server and log in |
//! | `relay.rs`, `reply.rs` | let only replies through that the library can decode |
//! | `supervised.rs` | keeps one client connected, and replaces it when it is lost |
//! | `backoff.rs` | says how long to wait before the next attempt |
//! | `doubt.rs` | notices that answers no longer match commands |
//! | `per_thread.rs` | gives a thread with a runtime of its own a connection of its own |
//! | `commands.rs` | the commands that pins need, each with a time limit |
//! | `replica_wait.rs` | lets concurrent waits for a replica share one |
//!
//! The library (`fred`) supplies the commands and their replies. Its connecting and reconnecting, its
//! queue of unsent commands, its Sentinel and its cluster mode are not used; each place says why.

mod backoff;
mod client;
mod commands;
mod dial;
mod doubt;
mod greeting;
mod per_thread;
mod relay;
mod replica_wait;
mod reply;
mod stream;
mod supervised;

pub(super) use self::commands::Commands;
pub(crate) use self::doubt::echo;
pub(super) use self::per_thread::ThreadConnections;
pub(super) use self::replica_wait::ReplicaWait;
pub(crate) use self::supervised::SupervisedConnection;
