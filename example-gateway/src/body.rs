//! The JSON body of a request: what the gateway reads of it, and the one value that it replaces.
//!
//! The body is never serialised again. Names of models are cut out and inserted by their positions, so
//! that every other byte reaches the provider as the client sent it.

mod beginning;
mod content;
mod disguise;
mod envelope;
mod error;
mod heal;
mod key;
mod members;
mod outgoing;
mod quick;
#[cfg(test)]
mod random;
mod references;
mod scan;
mod slices;
mod upload;
mod values;
mod walk;

pub(crate) use beginning::Beginning;
pub use envelope::Envelope;
pub use error::{BodyError, Fault};
pub(crate) use heal::{Healing, Upto};
pub use outgoing::Outgoing;
pub use slices::Slices;
pub use upload::{Bounds, Upload, UploadFault, UploadWatch};
