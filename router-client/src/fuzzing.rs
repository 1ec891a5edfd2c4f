//! How answers of routers are read, for the targets in `fuzz`.

use affinity_layer::RouteDecision;

use crate::{Preferences, RouterError, llm, plano};

/// The decision in a chat completion of a routing model.
///
/// # Errors
///
/// When it is not one.
pub fn routing_model(
    completion: &[u8],
    preferences: &Preferences,
) -> Result<RouteDecision, RouterError> {
    Ok(llm::answer::decision(completion, preferences)?)
}

/// The decision in an answer of another gateway.
///
/// # Errors
///
/// When it is not one.
pub fn gateway(answer: &[u8]) -> Result<RouteDecision, RouterError> {
    plano::decision(answer)
}
