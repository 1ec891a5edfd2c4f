//! The demo: the agent's loop over gateways of our own.

use std::io;
use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;

use super::code;
use super::local::Local;
use super::replicas::Replicas;
use crate::config::Config;
use crate::demo;
use crate::term::Terminal;

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
        let gateway = Local::gateway(&config).await?;
        let url = gateway.url().to_string();
        let held = demo::run(&[&url], self.turns.into(), &mut Terminal::stdio()).await?;
        Ok(code(held))
    }
}
