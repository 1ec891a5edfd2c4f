//! The middleware that pins.

mod budget;
mod epilogue;
mod future;
mod health;
mod layer;
mod payload;
mod protocol;
mod service;
mod settings;
mod shared;
mod verdict;

pub use future::ResponseFuture;
pub use layer::AffinityLayer;
pub use payload::ReadBody;
pub use service::Affinity;
