//! Demo and verification, and the stand-ins that they run on.
//!
//! `demo` shows what affinity does, and `verify` checks it on a gateway of yours. The others stand in for
//! what a deployment has: `provider` for the vendors, `balance` for a load balancer, `replicas` for several
//! gateways over one Redis. `replay` computes what a trace would have cost, and calls nobody. No room but `cli` imports from here, so what serves real requests depends on
//! none of it.

pub(crate) mod balance;
pub mod client;
pub mod demo;
pub(crate) mod exit;
pub(crate) mod local;
pub mod provider;
pub mod replay;
pub(crate) mod replicas;
pub mod term;
#[cfg(test)]
pub(crate) mod testing;
pub mod verify;
