//! Where the gateway listens, and who may call.

use std::net::{IpAddr, Ipv4Addr};

use affinity_layer::Scope;
use secrecy::{ExposeSecret, SecretString};

use super::address::ip_address;
use super::at::At;

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
    fn named(name: &str) -> Self {
        let client_keys = Vec::new();
        Self { name: name.to_owned(), address: DEFAULT_ADDRESS, port: DEFAULT_PORT, client_keys }
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
        return listeners.get("egress_traffic").into_iter().collect();
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
    listener
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
