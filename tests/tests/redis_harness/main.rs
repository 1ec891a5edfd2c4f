//! The harness itself: what the other suites take for granted of their Redis servers and proxies.
#![allow(clippy::unwrap_used, reason = "a test reports what is wrong by a panic")]

mod cluster;
mod proxy;
mod sentinel;
mod server;
mod tls;
