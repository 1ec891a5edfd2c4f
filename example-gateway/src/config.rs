//! The configuration file: YAML with the keys of the older system's `config.yaml`.
//!
//! 1. Every error of a file is found in one run; each names file, line, path and what is allowed.
//! 2. An unknown key is an error; a key that the older system knows and this one does not serve is a
//!    warning.
//! 3. `$NAME` and `${NAME}` in a value are environment variables, `$$` is a `$`. A variable that is not
//!    set is an error, and the value of a variable is never shown.
//! 4. A secret may be `{file: PATH}`, which is read with the file, and so again when it is reloaded.
//! 5. No error, warning, `Debug` form or [`summary`] shows a secret.

mod abilities;
mod address;
mod address_block;
mod admin;
mod advice;
mod at;
mod cache;
mod env;
mod finding;
mod forward_proxies;
mod identity;
mod limits;
mod listeners;
mod load;
mod memory;
mod passthrough;
mod preferences;
mod prices;
mod providers;
mod reload;
mod rollout;
mod router;
mod routing;
mod schema;
mod secret_file;
pub mod summary;
mod tls;
mod tracing;
mod tree;
mod trusted_proxies;
mod url;
mod vendors;

#[cfg(test)]
mod tests;

pub use abilities::Protocols;
pub use address::socket_address;
pub use admin::Admin;
pub use advice::advice;
pub use affinity_layer::body::Inputs;
pub use cache::{CertificateFiles, Durability, RedisCache, SessionCache};
pub use finding::{ConfigErrors, Finding};
pub use forward_proxies::{ForwardProxies, ForwardProxy};
pub use limits::Limits;
pub use listeners::{ClientKey, Hosts, Listener, Origins};
pub use load::{Config, Mode};
pub use prices::{KnownModel, known_model};
pub(crate) use providers::of_wildcard;
pub use providers::{Interface, Provider};
pub(crate) use reload::needs_restart;
pub use rollout::Policy;
pub use router::Router;
pub use routing::{OnMove, Release, Routing};
pub use tls::Tls;
pub use tracing::{SpanAttributes, Tracing};
pub use trusted_proxies::TrustedProxies;
pub use url::http_base;
