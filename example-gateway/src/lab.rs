//! Demo and verification, and the stand-ins that they run on.

pub(crate) mod balance;
pub mod client;
pub mod demo;
pub(crate) mod exit;
pub(crate) mod local;
pub mod provider;
pub(crate) mod replicas;
pub mod term;
#[cfg(test)]
pub(crate) mod testing;
pub mod verify;
