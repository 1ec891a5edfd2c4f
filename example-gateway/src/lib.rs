//! A small LLM gateway that keeps one session on one model: `affinity-layer` and `router-client` in
//! front of a reverse proxy. It shows how the parts fit together, and runs with nothing installed.

mod admin;
mod answers;
mod app;
mod auth;
mod balance;
pub mod body;
pub mod cli;
pub mod client;
pub mod config;
mod decision;
pub mod demo;
mod drains;
mod error;
mod front;
mod guarded;
mod hop;
mod intake;
mod ledger;
mod live;
mod observe;
mod protocol;
pub mod provider;
mod proxy;
pub mod report;
mod routing;
pub mod serve;
mod sessions;
mod shadow;
mod shutdown;
mod stall;
mod telemetry;
pub mod term;
#[cfg(test)]
mod testing;
mod turns;
mod ui;
mod upstream;
pub mod verify;
mod watch;
