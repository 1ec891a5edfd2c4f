//! The counts of a build that has none: everything here is compiled to nothing. The functions are those of
//! `counts.rs`, so that no caller needs a `cfg`.

use crate::{Outcome, Rejection, StoreError};

pub(super) fn requested(_: Outcome) {}
pub(crate) fn saved() {}
pub(crate) fn coalesced() {}
pub(crate) fn refused(_: &Rejection) {}
pub(crate) fn tolerated(_: &Rejection) {}
pub(crate) fn observed(_: Option<bool>) {}
pub(crate) fn moved(_: &'static str) {}
pub(crate) fn released() {}
pub(crate) fn evicted(_: &'static str) {}
pub(crate) fn expired(_: &'static str) {}
pub(crate) fn cooled(_: &'static str, _: &str) {}
pub(crate) fn passed_over() {}

pub(crate) struct Call;

impl Call {
    pub(crate) fn router() -> Self {
        Self
    }

    pub(crate) fn store(_: &'static str) -> Self {
        Self
    }

    pub(crate) fn ended(self, _: &'static str) {}

    pub(crate) fn answered<T>(self, _: &Result<T, StoreError>, _: impl FnOnce(&T) -> &'static str) {
    }
}
