//! What is measured: each a process of its own on loopback, ended when it is dropped.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use super::foreign::Foreign;
use crate::Gateway;

/// A running server.
pub(super) struct Subject {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) process: u32,
    _held: Held,
}

enum Held {
    Ours { _gateway: Box<Gateway> },
    Foreign { _server: Foreign },
}

impl Subject {
    /// This program in another role: `provider`, `constant` or `floor`.
    pub(super) async fn own(name: &'static str, arguments: &[&str]) -> io::Result<Self> {
        let program = std::env::current_exe()?;
        Ok(Self::listening(name, Gateway::spawn(&program, arguments).await))
    }

    fn listening(name: &'static str, gateway: Gateway) -> Self {
        let process = gateway.id();
        let (address, gateway) = (gateway.address(), Box::new(gateway));
        Self { name, address, process, _held: Held::Ours { _gateway: gateway } }
    }

    /// Our gateway in front of `upstream`, with further lines of its section `routing`.
    pub(super) async fn gateway(
        name: &'static str,
        program: &Path,
        upstream: SocketAddr,
        routing: &str,
    ) -> Self {
        Self::serving(name, program, &config(upstream, routing)).await
    }

    /// Our gateway with this configuration.
    pub(super) async fn serving(name: &'static str, program: &Path, config: &str) -> Self {
        Self::listening(name, Gateway::serve_by(program, config, &[]).await)
    }

    /// A server that is not ours.
    pub(super) fn foreign(name: &'static str, server: Foreign) -> Self {
        let (address, process) = (server.address, server.child.id());
        Self { name, address, process, _held: Held::Foreign { _server: server } }
    }
}

pub(super) fn config(upstream: SocketAddr, routing: &str) -> String {
    format!(
        "version: v0.4.0\nlisteners:\n  - {{type: model, name: bench, port: 12000}}\n\
         model_providers:\n  \
         - {{model: openai/gpt-4o, access_key: k, base_url: 'http://{upstream}', default: true}}\n  \
         - {{model: openai/gpt-4o-mini, access_key: k, base_url: 'http://{upstream}'}}\n\
         routing_preferences:\n  \
         - {{name: databases, description: choosing a database for a shop, \
         models: [openai/gpt-4o-mini, openai/gpt-4o]}}\n\
         routing:\n  session_ttl_seconds: 86400\n{routing}"
    )
}
