//! The body of a request beyond what [`affinity_layer::body`] checks and replaces: what is left out for
//! another vendor, what lives at one provider, and bodies that pass while they are sent.

mod beginning;
mod envelope;
mod heal;
mod outgoing;
mod references;
mod upload;
mod walk;

pub(crate) use beginning::Beginning;
pub use envelope::Envelope;
pub(crate) use heal::{Healing, Upto};
pub use outgoing::Outgoing;
pub use upload::{Bounds, Upload, UploadFault, UploadWatch};
