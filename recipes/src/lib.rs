//! Recipes for the client's side: an agent whose own HTTP client pins each task to one model.
//!
//! | client | recipe |
//! |---|---|
//! | hyper-util | [`hyper_client::agent`] |
//! | reqwest | [`reqwest_client::agent`] |
//! | async-openai, feature `middleware` | [`openai::agent`] |
//!
//! Each is the same stack, from the outside in: the session of the running task is stamped onto the request,
//! a `prompt_cache_key` that does not tell its id is put into the body, the body is checked, the session gets
//! its model, a model that fails is replaced, the model is put into the body, and the headers that name the
//! session stay here. Copy the one that you need, and leave out the layers that you do not. `tests/recipes.rs`
//! runs all of them against the simulated provider.

pub mod hyper_client;
pub mod openai;
pub mod reqwest_client;

/// The key of the hash by which a provider knows a session. Keep yours as you keep other secrets.
pub const SECRET: [u8; 16] = *b"replace this one";

/// How a provider calls a model: without its own name before the slash.
pub fn id_at_provider(model: &affinity_layer::ModelName) -> &str {
    model.as_str().split_once('/').map_or(model.as_str(), |(_, id)| id)
}
