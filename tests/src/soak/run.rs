//! One run: everything is started, struck in turn, and looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::load::Load;
use super::report::{Report, Sample};
use super::stubs::{self, MODELS, Stub, Weather};
use super::tally::Tally;
use crate::Gateway;
use crate::redis::{Mode, Proxy, RedisServer};

/// Clients at once.
const CLIENTS: u64 = 24;

/// How long a fault lasts, and how long its end may be felt.
const FAULT: Duration = Duration::from_secs(2);
const AFTERMATH: Duration = Duration::from_secs(4);

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway's program.
    pub gateway: PathBuf,
    /// How long.
    pub length: Duration,
    /// From one fault to the next; at least 8 s.
    pub every: Duration,
}

/// What is struck.
struct Targets {
    redis: RedisServer,
    proxy: Proxy,
    router: Arc<Stub>,
    provider: Arc<Stub>,
}

impl Targets {
    /// Makes the `round`th fault and undoes it; returns its name.
    async fn strike(&self, round: usize) -> &'static str {
        let weather = async |stub: &Stub, weather| {
            stub.set(weather);
            sleep(FAULT).await;
            stub.set(Weather::Fine);
        };
        let proxied = async |mode| {
            self.proxy.set(mode).await;
            sleep(FAULT).await;
            self.proxy.set(Mode::Pass).await;
        };
        match round % 9 {
            0 => proxied(Mode::Stall).await,
            1 => weather(&self.provider, Weather::Fails).await,
            2 => {
                self.redis.freeze();
                sleep(FAULT).await;
                self.redis.thaw();
            }
            3 => weather(&self.router, Weather::Fails).await,
            4 => proxied(Mode::BlackHole).await,
            5 => weather(&self.provider, Weather::Breaks).await,
            6 => {
                self.proxy.cut();
                proxied(Mode::Refuse).await;
            }
            7 => weather(&self.router, Weather::Slow).await,
            _ => weather(&self.provider, Weather::Slow).await,
        }
        [
            "redis stalls",
            "provider fails",
            "redis is frozen",
            "router fails",
            "redis swallows",
            "provider breaks off",
            "redis refuses",
            "router is slow",
            "provider is slow",
        ][round % 9]
    }
}

/// Runs the plan. All processes end with it.
///
/// # Panics
///
/// When a process does not start, or a fault cannot be made.
pub async fn run(plan: &Plan) -> Report {
    let mut servers = JoinSet::new();
    let slow = Duration::from_millis(400);
    let (at, provider) = stubs::start(&mut servers, slow, stubs::completion).await;
    let (routing, router) = stubs::start(&mut servers, FAULT, stubs::decision).await;
    let redis = RedisServer::start().await;
    let proxy = Proxy::start(redis.addr()).await;
    let config = yaml(&at.to_string(), &routing.to_string(), &proxy.addr().to_string());
    let gateway = Gateway::serve_by(&plan.gateway, &config, &[]).await;
    let targets = Targets { redis, proxy, router, provider: provider.clone() };

    let (end, ending) = watch::channel(false);
    let (client, nonces) = (Client::new(gateway.address()), AtomicU64::new(0));
    let load = Arc::new(Load { client, provider, tally: Tally::default(), nonces, ending });
    let mut clients = JoinSet::new();
    for worker in 0..CLIENTS {
        clients.spawn(load.clone().work(worker));
    }
    let (born, mut samples) = (Instant::now(), Vec::new());
    for round in 0.. {
        load.tally.fault.store(true, Relaxed);
        let fault = targets.strike(round).await;
        sleep(AFTERMATH).await;
        load.tally.fault.store(false, Relaxed);
        sleep(plan.every.saturating_sub(FAULT + AFTERMATH)).await;
        let (resident, sockets) = (gateway.resident(), gateway.sockets());
        let sent = load.tally.sent.load(Relaxed);
        samples.push(Sample { at: born.elapsed(), fault, resident, sockets, sent });
        if born.elapsed() >= plan.length {
            break;
        }
    }
    end.send_replace(true);
    clients.join_all().await;
    Report::new(&load.tally, samples)
}

fn yaml(provider: &str, router: &str, redis: &str) -> String {
    let models =
        |f: fn(usize, &str) -> String| (0..MODELS).map(|n| f(n, provider)).collect::<String>();
    let providers = models(|n, at| {
        format!(
            "  - {{model: openai/m{n}, access_key: none, default: {}, base_url: 'http://{at}'}}\n",
            n == 0
        )
    });
    let routes = models(|n, _| {
        let next = (n + 1) % MODELS;
        format!(
            "  - {{name: r{n}, description: the route {n}, models: [openai/m{n}, openai/m{next}]}}\n"
        )
    });
    // Few entries, so that the store is full before the resident set is compared.
    format!(
        "version: v0.4.0
listeners:
  - {{type: model, name: soak}}
model_providers:
{providers}routing_preferences:
{routes}routing:
  session_ttl_seconds: 30
  session_max_entries: 500
  expose_epoch: true
  router: {{type: llm, url: 'http://{router}/v1', model: Arch-Router, timeout_ms: 1000}}
  session_cache: {{type: redis, url: 'redis://{redis}'}}
limits: {{header_timeout_ms: 2000}}
"
    )
}
