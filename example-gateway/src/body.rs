//! The JSON body of a request: what the gateway reads of it, and the one value that it replaces.
//!
//! The body is never built anew. Names of models are cut out and put in by their positions, so that
//! every other byte reaches the provider as the client sent it.

mod content;
mod envelope;
mod error;
mod members;
mod quick;
#[cfg(test)]
mod random;
mod scan;
mod slices;
mod values;

pub use envelope::Envelope;
pub use error::BodyError;
pub use slices::Slices;
