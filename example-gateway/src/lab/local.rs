//! Servers on loopback, for as long as a command runs.
//!
//! Each takes port 0, and so any port that is free: two demos at the same time do not meet. Dropping one stops
//! its server, whichever way the command ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Uri;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::config::Config;
use crate::gateway::{Gateway, Inherited};
use crate::lab::balance::Balancer;
use crate::lab::provider;
use crate::ops::live::feed::Live;

/// A server on a free port; it stops when this is dropped.
#[derive(Debug)]
pub(crate) struct Local {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    live: Option<Live>,
    _stop: DropGuard,
}

impl Local {
    /// The simulated provider.
    pub(crate) async fn provider() -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, stop) = (socket.local_addr()?, CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(provider::serve(socket, provider::Options::default(), stopped));
        Ok(Self { address, admin: None, live: None, _stop: stop.drop_guard() })
    }

    /// A gateway.
    pub(crate) async fn gateway(config: &Config) -> io::Result<Self> {
        let mut config = config.clone();
        config.listen_on((Ipv4Addr::LOCALHOST, 0).into());
        config.limits.drain_timeout = Duration::ZERO;
        let gateway = Gateway::bind(config, Inherited::default()).await?;
        let address = gateway.addresses()?.first().copied();
        let address = address.ok_or_else(|| io::Error::other("no listener is configured"))?;
        let (admin, stop) = (gateway.admin_address()?, CancellationToken::new());
        let live = gateway.live().cloned();
        tokio::spawn(gateway.serve(stop.clone(), None));
        Ok(Self { address, admin, live, _stop: stop.drop_guard() })
    }

    /// A load balancer.
    pub(crate) async fn balancer(balancer: &Balancer) -> io::Result<Self> {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let (address, stop) = (socket.local_addr()?, CancellationToken::new());
        let stopped = stop.clone().cancelled_owned();
        tokio::spawn(balancer.clone().serve(socket, stopped));
        Ok(Self { address, admin: None, live: None, _stop: stop.drop_guard() })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the admin API.
    pub(crate) fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Whether somebody has its live page open.
    pub(crate) fn is_watched(&self) -> bool {
        self.live.as_ref().is_some_and(Live::is_watched)
    }

    pub(crate) fn url(&self) -> Uri {
        // An address and port always make a URL.
        format!("http://{}", self.address).parse().unwrap_or_default()
    }
}
