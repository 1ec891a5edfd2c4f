//! What is read of an answer, whole and in pieces.

mod beginning;
mod link;
mod random;
mod stops;
mod task;
mod usage;
