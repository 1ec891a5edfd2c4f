//! The layers between a listener and the providers.

pub(crate) mod answers;
mod apart;
pub(crate) mod decision;
pub(crate) mod intake;
pub(crate) mod layers;
pub(crate) mod memory;
pub(crate) mod observe;
pub(crate) mod routed;
pub(crate) mod routing;
pub(crate) mod sessions;
pub(crate) mod shadow;
pub(crate) mod turns;
