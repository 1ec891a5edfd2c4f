//! The demo: an agent's loop over gateways that it starts.
//!
//! In one process it starts the simulated provider and one gateway; with `--replicas` or `--redis`, the
//! gateways are [processes of their own](crate::lab::replicas). `crate::lab::demo` holds what is shown.

use std::future::pending;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::config::{Admin, Config};
use crate::lab::demo::{self, Plan, RUN_HEADER, WATCHED, Without};
use crate::lab::exit::{code, unless_stopped};
use crate::lab::local::Local;
use crate::lab::replicas::Replicas;
use crate::lab::term::Terminal;

/// How long the runs wait for somebody to open the page, and how often is looked whether one has.
const OPENING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

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
    /// Milliseconds between two turns [default: 1200 on a terminal and while the page is open, else 0].
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u16).range(..=60_000))]
    pace: Option<u16>,
    /// Serve the live page too, show both runs there, and stay until Ctrl-C.
    #[arg(long, conflicts_with_all = ["replicas", "redis"])]
    ui: bool,
}

impl Demo {
    pub(super) async fn run(self) -> io::Result<ExitCode> {
        let pace = self.pace.map(|pace| Duration::from_millis(pace.into()));
        if self.replicas.is_some() || self.redis.is_some() {
            let count = self.replicas.unwrap_or(2).into();
            let replicas = Replicas { count, redis: self.redis, turns: self.turns.into(), pace };
            return replicas.run().await;
        }
        let mut out = Terminal::stdio();
        let done = unless_stopped(self.show(pace, &mut out)).await;
        out.end()?;
        done
    }

    async fn show(&self, pace: Option<Duration>, out: &mut Terminal) -> io::Result<ExitCode> {
        let provider = Local::provider().await?;
        let mut config = Config::embedded();
        config.replace_upstreams(&provider.url());
        let token = Uuid::new_v4().simple().to_string();
        if self.ui {
            let address = (Ipv4Addr::LOCALHOST, 0).into();
            config.admin = Some(Admin { address, token: SecretString::from(token.as_str()) });
            // The page shows the scope of a session, and so which run it is.
            config.routing.tenant_header = Some(RUN_HEADER);
        }
        let gateway = Local::gateway(&config).await?;
        let page = gateway.admin().map(|address| format!("http://{address}/ui#token={token}"));
        if let Some(page) = &page {
            out.line(&format!("Live page: {page}\n"))?;
        }
        let is_live = out.is_live();
        if self.ui && is_live {
            out.progress(&format!("open it to watch; it begins in {} s", OPENING.as_secs()))?;
            let opened = async {
                while !gateway.is_watched() {
                    sleep(LOOK).await;
                }
            };
            let _ = timeout(OPENING, opened).await;
        }
        let without = if self.ui { Without::Pin } else { Without::Session };
        let watched = || {
            let watched = is_live || gateway.is_watched();
            pace.unwrap_or(if watched { WATCHED } else { Duration::ZERO })
        };
        let plan = Plan { turns: self.turns.into(), without, pace: &watched };
        let url = gateway.url().to_string();
        let held = demo::run(&[&url], &plan, out).await?;
        if let Some(page) = &page {
            out.line(&format!("\nBoth runs are on the live page, until Ctrl-C: {page}"))?;
            pending::<()>().await;
        }
        Ok(code(held))
    }
}
