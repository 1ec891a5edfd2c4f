//! A small LLM gateway that keeps one session on one model: `affinity-layer` and `router-client` in
//! front of a reverse proxy. It shows how the parts fit together, and runs with nothing installed.

mod app;
pub mod body;
pub mod cli;
pub mod config;
mod credentials;
mod edge;
mod error;
mod extensions;
pub mod gateway;
pub mod lab;
mod ops;
mod paths;
pub mod prices;
mod protocol;
mod stack;
pub mod switching;
mod telemetry;
mod upstream;
