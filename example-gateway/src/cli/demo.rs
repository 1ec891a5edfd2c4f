//! The demo: an agent's loop over gateways that it starts.
//!
//! In one process it starts the simulated provider and one gateway; with `--replicas` or `--redis`, the
//! gateways are [processes of their own](crate::lab::replicas). `crate::lab::demo` holds what is shown.

use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;
use uuid::Uuid;

use crate::config::{Admin, Config};
use crate::edge::shutdown;
use crate::lab::demo::{self, Without};
use crate::lab::exit::code;
use crate::lab::local::Local;
use crate::lab::replicas::Replicas;
use crate::lab::term::Terminal;

#[derive(Args, Debug)]
pub(super) struct Demo {
    /// Run over this many replicas behind a load balancer, on one Redis [default: 1, or 2 with
    /// --redis].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..=8))]
    replicas: Option<u16>,
    /// The Redis of the replicas, such as redis://localhost:6379; without it, one is started.
    #[arg(long, value_name = "URL")]
    redis: Option<SecretString>,
    /// Turns after which the agent gives up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    turns: u16,
    /// Serve the live page too, show both runs there, and stay until Ctrl-C.
    #[arg(long, conflicts_with_all = ["replicas", "redis"])]
    ui: bool,
}

impl Demo {
    pub(super) async fn run(self) -> io::Result<ExitCode> {
        if self.replicas.is_some() || self.redis.is_some() {
            let count = self.replicas.unwrap_or(2).into();
            let replicas = Replicas { count, redis: self.redis, turns: self.turns.into() };
            return replicas.run().await;
        }
        let provider = Local::provider().await?;
        let mut config = Config::embedded();
        config.replace_upstreams(&provider.url());
        let (turns, mut out) = (self.turns.into(), Terminal::stdio());
        let without = if self.ui { Without::Pin } else { Without::Session };
        let token = Uuid::new_v4().simple().to_string();
        if self.ui {
            let address = (Ipv4Addr::LOCALHOST, 0).into();
            config.admin = Some(Admin { address, token: SecretString::from(token.as_str()) });
        }
        let gateway = Local::gateway(&config).await?;
        let page = gateway.admin().map(|address| format!("http://{address}/ui#token={token}"));
        if let Some(page) = &page {
            out.line(&format!("Live page: {page}\n"))?;
        }
        let url = gateway.url().to_string();
        let held = demo::run(&[&url], turns, without, &mut out).await?;
        if let Some(page) = &page {
            let stop = shutdown::on_signal()?;
            out.line(&format!("\nBoth runs are on the live page, until Ctrl-C: {page}"))?;
            stop.cancelled().await;
        }
        Ok(code(held))
    }
}
