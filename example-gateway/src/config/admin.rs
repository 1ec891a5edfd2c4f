//! The section `admin`.

use std::net::SocketAddr;

use secrecy::{ExposeSecret, SecretString};

use super::address::socket_address;
use super::at::At;
use super::listeners::Listener;

/// The address of the admin API, and who may call it.
#[derive(Clone, Debug)]
pub struct Admin {
    /// The address; none of the listeners has it.
    pub address: SocketAddr,
    /// What every request must show; never empty.
    pub token: SecretString,
}

/// The admin API of the file: without the section there is none.
pub(super) fn read(root: &At<'_>, listeners: &[Listener]) -> Option<Admin> {
    let at = root.get("admin")?;
    let token = at.require("token").and_then(|token| {
        let secret = token.secret()?;
        let visible = secret.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        if !visible {
            token.error("must be visible ASCII: it has to fit into a header");
        }
        visible.then_some(secret)
    });
    let address = at.require("address").and_then(|address| {
        let read = address.parsed(socket_address)?;
        if listeners.iter().any(|listener| meet(read, listener)) {
            address.error("is the address of a listener");
        }
        if !read.ip().is_loopback() {
            address.warn(format!(
                "{read} is beyond loopback: anyone who holds the token can move every session"
            ));
        }
        Some(read)
    });
    Some(Admin { address: address?, token: token? })
}

/// Whether both cannot be listened on.
fn meet(address: SocketAddr, listener: &Listener) -> bool {
    let (here, there) = (address.ip(), listener.address);
    address.port() == listener.port
        && (here == there || here.is_unspecified() || there.is_unspecified())
}
