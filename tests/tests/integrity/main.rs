//! The integrity checker: that its rules find what breaks them, and a short run over every fault.
#![allow(clippy::unwrap_used, reason = "a test reports what is wrong by a panic")]

mod rules;
mod short;
