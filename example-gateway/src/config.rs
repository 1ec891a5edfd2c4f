//! The configuration file: YAML with the keys of the older system's `config.yaml`.
//!
//! 1. Every error of a file is found in one run; each names file, line, path and what is allowed.
//! 2. An unknown key is an error; a key that the older system knows and this one does not serve is a
//!    warning.
//! 3. `$NAME` and `${NAME}` in a value are environment variables, `$$` is a `$`. A variable that is not
//!    set is an error, and the value of a variable is never shown.
//! 4. No error, warning, `Debug` form or [`summary`] shows a secret.

mod abilities;
mod address;
mod admin;
mod advice;
mod at;
mod cache;
mod env;
mod finding;
mod identity;
mod limits;
mod listeners;
mod load;
mod memory;
mod preferences;
mod providers;
mod proxies;
mod router;
mod routing;
pub mod summary;
mod tracing;
mod tree;
mod url;
mod vendors;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use affinity_layer::ModelName;
use http::Uri;
use router_client::Preference;

pub use abilities::{Inputs, Protocols};
pub use address::socket_address;
pub use admin::Admin;
pub use cache::{Durability, RedisCache, SessionCache};
pub use finding::{ConfigErrors, Finding};
pub use limits::Limits;
pub use listeners::{ClientKey, Hosts, Listener, Origins};
pub(crate) use providers::of_wildcard;
pub use providers::{Interface, Provider};
pub use proxies::TrustedProxies;
pub use router::Router;
pub use routing::{Release, Routing};
pub use tracing::{SpanAttributes, Tracing};
pub use url::http_base;

/// A configuration that was checked: its parts fit together.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the gateway listens; at least one.
    pub listeners: Vec<Listener>,
    /// Who serves the models; at least one, each model once.
    pub providers: Vec<Provider>,
    /// Which models serve which kind of request; every model is declared.
    pub preferences: Vec<Preference>,
    /// Other names for declared models.
    pub aliases: BTreeMap<String, ModelName>,
    /// How sessions are kept and requests decided.
    pub routing: Routing,
    /// The admin API, if there is one.
    pub admin: Option<Admin>,
    /// What clients and providers may take up.
    pub limits: Limits,
    /// What is traced.
    pub tracing: Tracing,
    /// What the file asks for and is not served.
    pub warnings: Vec<Finding>,
}

/// What the configuration is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The providers are going to be called: their keys and addresses must be there.
    Full,
    /// `--upstream`: one address replaces those of all providers, so that their keys and addresses
    /// may be missing. Call [`Config::replace_upstreams`] before use.
    UpstreamOverride,
}

impl Mode {
    /// What has to be there when `upstream`, if it is given, takes the place of the providers.
    #[must_use]
    pub fn with(upstream: Option<&Uri>) -> Self {
        upstream.map_or(Self::Full, |_| Self::UpstreamOverride)
    }
}

impl Config {
    /// Moves the first listener to `address` and drops the others. Returns whether it is open: beyond
    /// loopback and without client keys.
    pub fn listen_on(&mut self, address: SocketAddr) -> bool {
        self.listeners.truncate(1);
        for listener in &mut self.listeners {
            (listener.address, listener.port) = (address.ip(), address.port());
        }
        let keyless = self.listeners.iter().any(|listener| listener.client_keys.is_empty());
        keyless && !address.ip().is_loopback()
    }

    /// Whether a call of a provider or of the router would come back to one of the listeners: then
    /// one request would go in circles until no connection is left.
    #[must_use]
    pub fn calls_itself(&self) -> bool {
        let router = match &self.routing.router {
            Router::Llm { url, .. } | Router::Plano { url, .. } => Some(url),
            Router::Lexical => None,
        };
        let providers = self.providers.iter().map(|provider| &provider.base_url);
        providers.chain(router).any(|base| url::is_own(base, &self.listeners))
    }

    /// Sends the calls of every provider to `base`, and with them those to a routing model that is
    /// one of the providers.
    pub fn replace_upstreams(&mut self, base: &Uri) {
        if let Router::Llm { url, .. } = &mut self.routing.router {
            let shared = |provider: &Provider| router::chat_base(&provider.base_url) == *url;
            if self.providers.iter().any(shared) {
                *url = router::chat_base(base);
            }
        }
        for provider in &mut self.providers {
            provider.base_url = base.clone();
        }
        providers::settle_protocols(&mut self.providers);
    }
}
