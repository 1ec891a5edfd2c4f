//! Where the gateway listens, and who may call.

use std::net::{IpAddr, Ipv4Addr};

use affinity_layer::Scope;
use http::uri::Authority;
use secrecy::{ExposeSecret, SecretString};

use super::address::ip_address;
use super::at::At;
use super::tls::{self, Tls};
use super::trusted_proxies::TrustedProxies;

const DEFAULT_PORT: u16 = 12_000;
const DEFAULT_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// One address on which requests are taken.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The name, for logs.
    pub name: String,
    /// The address; 127.0.0.1 by default.
    pub address: IpAddr,
    /// The port; 12000 by default.
    pub port: u16,
    /// The keys of which a request needs one; with none, every request is taken.
    pub client_keys: Vec<ClientKey>,
    /// The hosts by which it may be called without client keys, in addition to those of this machine.
    pub hosts: Hosts,
    /// The web pages that may call it from other sites; `None` without the section.
    pub cors_origins: Option<Origins>,
    /// Its certificate and key; without them it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Whether other processes may listen on the same address, such as the one that is to take over.
    pub reuse_port: bool,
    /// The proxies in front of it, whose `X-Forwarded-For` or PROXY protocol tells clients without a key
    /// apart. With keys, the header of the PROXY protocol is still taken out.
    pub trusted_proxies: TrustedProxies,
}

/// Names by which a listener may be called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Any name.
    Any,
    /// These, in lower case and without port.
    These(Vec<String>),
}

/// Origins of web pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Any origin.
    Any,
    /// These, as browsers send them.
    These(Vec<String>),
}

impl Origins {
    /// Whether `origin`, as a header holds it, is one of them.
    #[must_use]
    pub fn hold(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::These(origins) => origins.iter().any(|known| known.as_bytes() == origin),
        }
    }
}

/// A key that a client may show.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// Who holds the key, for logs.
    pub name: String,
    /// The key.
    pub key: SecretString,
    /// The scope of the sessions of this client.
    pub scope: Option<Scope>,
}

impl Listener {
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            address: DEFAULT_ADDRESS,
            port: DEFAULT_PORT,
            client_keys: Vec::new(),
            hosts: Hosts::These(Vec::new()),
            cors_origins: None,
            tls: None,
            reuse_port: false,
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

/// The listeners of the file. Without one that serves models, there is the default one: so it was
/// in the older system too.
pub(super) fn read(root: &At<'_>) -> Vec<Listener> {
    let mut listeners = Vec::<Listener>::new();
    for at in model_listeners(root) {
        let listener = read_one(&at);
        if listeners.iter().any(|other| other.port == listener.port) {
            at.error(format!("port {} is taken by a listener above", listener.port));
        }
        listeners.push(listener);
    }
    if listeners.is_empty() {
        listeners.push(Listener::named("model"));
    }
    listeners
}

/// The listeners of either form that serve models.
fn model_listeners<'a>(root: &At<'a>) -> Vec<At<'a>> {
    let Some(listeners) = root.get("listeners") else { return Vec::new() };
    if !listeners.is_list() {
        // The older form: one listener for calls to models, one for prompts.
        listeners.not_served(&["ingress_traffic"]);
        let older = listeners.get("egress_traffic");
        if older.is_none()
            && ["type", "name", "port"].iter().any(|key| listeners.get(key).is_some())
        {
            listeners.error("must be a list: write - before the first key of each listener");
            listeners.leave_out();
        }
        return older.into_iter().collect();
    }
    let mut served = listeners.items();
    served.retain(|at| {
        let kinds = [("model", true), ("prompt", false), ("agent", false)];
        let served = at.get("type").is_none_or(|kind| kind.one_of(&kinds) != Some(false));
        if !served {
            at.warn("only listeners of type model are served; this one is left out");
            at.leave_out();
        }
        served
    });
    served
}

fn read_one(at: &At<'_>) -> Listener {
    let name = at.get("name").and_then(|name| name.text());
    let mut listener = Listener::named(name.as_deref().unwrap_or("model"));
    if let Some(address) = at.get("address") {
        listener.address = address.parsed(ip_address).unwrap_or(DEFAULT_ADDRESS);
    }
    if let Some(port) = at.get("port").and_then(|port| port.integer(1..=65_535, "")) {
        listener.port = u16::try_from(port).unwrap_or(DEFAULT_PORT);
    }
    at.not_served(&[
        "agents",
        "filter_chain",
        "input_filters",
        "max_retries",
        "message_format",
        "output_filters",
        "router",
        "timeout",
    ]);
    if let Some(keys) = at.get("client_keys") {
        listener.client_keys = client_keys(&keys);
        if keys.items().is_empty() {
            // Whoever wrote this key wants client keys to be required.
            keys.error("must name at least one key");
        }
    } else if !listener.address.is_loopback() {
        at.warn(format!(
            "listens on {} without client_keys: anyone who reaches it can spend the provider keys",
            listener.address
        ));
    }
    let has_keys = !listener.client_keys.is_empty();
    if let Some(hosts) = at.get("hosts") {
        if has_keys {
            hosts.warn("has no effect with client_keys");
        }
        listener.hosts = read_hosts(&hosts);
    }
    if let Some(origins) = at.get("cors").and_then(|cors| cors.require("origins")) {
        listener.cors_origins = Some(read_origins(&origins, has_keys));
    }
    listener.tls = at.get("tls").and_then(|tls| tls::read(&tls));
    listener.reuse_port = at.flag_or("reuse_port", false);
    if let Some(proxies) = at.get("trusted_proxies") {
        listener.trusted_proxies = TrustedProxies::read(&proxies);
    }
    listener
}

fn read_hosts(at: &At<'_>) -> Hosts {
    let mut names = Vec::new();
    for item in at.items() {
        let name = item.parsed(|text| {
            let host = text.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
            let is_address = host.parse::<IpAddr>().is_ok();
            let is_name = text.parse::<Authority>().is_ok_and(|name| name.as_str() == name.host());
            let is_host = text == "*" || is_address || is_name && !text.contains(['@', '*']);
            is_host.then(|| host.to_ascii_lowercase()).ok_or("must be a host without a port, or *")
        });
        names.extend(name);
    }
    if names.iter().any(|name| name == "*") { Hosts::Any } else { Hosts::These(names) }
}

fn read_origins(at: &At<'_>, has_keys: bool) -> Origins {
    let mut origins = Vec::new();
    for item in at.items() {
        let shape = "must be an origin, for example https://app.example or http://localhost:3000";
        let origin = item.parsed(|text| match text.split_once("://") {
            None if text == "*" && has_keys => Ok(text.to_owned()),
            None if text == "*" => {
                Err("* needs client_keys: every page could spend the provider keys")
            }
            Some((scheme, rest)) => {
                let is_scheme = !scheme.is_empty()
                    && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
                let is_host = rest.parse::<Authority>().is_ok() && !rest.contains('@');
                let origin = is_scheme && is_host;
                origin.then(|| text.to_ascii_lowercase()).ok_or(shape)
            }
            None => Err(shape),
        });
        origins.extend(origin);
    }
    if origins.iter().any(|origin| origin == "*") { Origins::Any } else { Origins::These(origins) }
}

fn client_keys(at: &At<'_>) -> Vec<ClientKey> {
    let mut keys = Vec::<ClientKey>::new();
    for item in at.items() {
        let name = item.require("name").and_then(|name| name.text());
        let key = item.require("key").and_then(|key| key.secret());
        let scope = item.get("scope").and_then(|scope| scope.parsed(Scope::new));
        let (Some(name), Some(key)) = (name, key) else { continue };
        if keys.iter().any(|other| other.key.expose_secret() == key.expose_secret()) {
            item.error("the same key is listed above");
        }
        keys.push(ClientKey { name, key, scope });
    }
    keys
}
