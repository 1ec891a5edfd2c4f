//! The layers between a listener and the providers.

pub(crate) mod answers;
pub(crate) mod app;
pub(crate) mod decision;
pub(crate) mod intake;
pub(crate) mod observe;
pub(crate) mod routed;
pub(crate) mod routing;
pub(crate) mod sessions;
