//! A small LLM gateway that keeps one session on one model.

pub mod config;
pub mod provider;
