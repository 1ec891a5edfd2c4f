//! One run: for each fault a gateway and a Redis of their own.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::load::{Turn, load};
use super::report::{Half, Report, Row};
use super::sick::{Patient, Sick};
use crate::bench::process;
use crate::{Gateway, Setup, get, until};

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway's program.
    pub gateway: PathBuf,
    /// How long Redis is healthy, and how long it is not.
    pub half: Duration,
    /// What is wrong with Redis then, one after the other.
    pub faults: Vec<Sick>,
}

/// Runs the plan. All processes end with it.
///
/// # Panics
///
/// When a process does not start, or a fault cannot be made.
pub async fn run(plan: &Plan) -> Report {
    let mut rows = Vec::new();
    for sick in &plan.faults {
        rows.push(row(plan, *sick).await);
    }
    Report::new(rows)
}

async fn row(plan: &Plan, sick: Sick) -> Row {
    let provider = ["provider", "--listen", "127.0.0.1:0", "--log-format", "json"];
    let provider = Gateway::spawn(&plan.gateway, &provider).await;
    let patient = Patient::start().await;
    let cache = format!("session_cache: {{type: redis, url: 'redis://{}'}}", patient.addr());
    let config = Setup::new(&provider.url()).routing(&cache).yaml();
    let gateway = Gateway::serve_by(&plan.gateway, &config, &[]).await;
    until(async || gateway.ask(&get("/readyz")).await.json()["status"] == "ready").await;
    // What is allocated at the first requests belongs to neither half.
    load(gateway.address(), Duration::from_secs(2), "first").await;
    let healthy = half(&gateway, plan.half, "healthy", sleep(plan.half)).await;
    let ill = sick.strike(&patient, plan.half);
    let ill = half(&gateway, plan.half, "ill", ill).await;
    Row { sick, healthy, ill }
}

/// What the gateway used while it was under load, and something else went on.
async fn half(
    gateway: &Gateway,
    length: Duration,
    name: &str,
    beside: impl Future<Output = ()>,
) -> Half {
    let used = || process::cpu(gateway.id()).as_secs_f64();
    let (began, before, logged) = (Instant::now(), used(), gateway.log().len());
    let (turns, ()): (Vec<Turn>, ()) = tokio::join!(load(gateway.address(), length, name), beside);
    let cpu = used() - before;
    let (resident, log) = (gateway.resident(), gateway.log().len() - logged);
    Half { began, turns, cpu, resident, log }
}
