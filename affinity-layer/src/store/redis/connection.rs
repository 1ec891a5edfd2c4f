//! Connections to one server: how they are set up, kept alive and replaced, and the commands that
//! travel over them.

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
