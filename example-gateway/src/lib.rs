//! A small LLM gateway that keeps one session on one model.

pub mod config;
pub mod client;
pub mod demo;
pub mod provider;
pub mod term;
#[cfg(test)]
mod testing;
pub mod verify;
