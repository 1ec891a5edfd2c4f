//! The measurements, in their order.

use std::io::{self, Write};
use std::path::PathBuf;

use super::body::{Reading, conversation, reading};
use super::cold::cold_starts;
use super::connection::Message;
use super::foreign::Foreign;
use super::load::{Load, Sample};
use super::plan::Plan;
use super::process;
use super::redis::{Commands, commands};
use super::subject::Subject;
use crate::redis::RedisServer;

const CHAT: &str = "/v1/chat/completions";
const DECISION: &str = "/routing/v1/chat/completions";
const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// What is run, and with what.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How long and how often.
    pub plan: Plan,
    /// The gateway's program.
    pub gateway: PathBuf,
    /// A Python environment with LiteLLM, if it is to be measured.
    pub litellm: Option<PathBuf>,
}

/// One case: the same load on several servers, in turns.
pub(super) struct Table {
    pub(super) bytes: usize,
    pub(super) connections: usize,
    pub(super) rows: Vec<Row>,
}

pub(super) struct Row {
    pub(super) name: &'static str,
    /// One for each turn; those of one index belong together.
    pub(super) samples: Vec<Sample>,
    /// Bytes after the last turn.
    pub(super) resident: u64,
}

/// All that was measured.
pub struct Outcome {
    pub(super) plan: Plan,
    pub(super) plain: Vec<Table>,
    pub(super) decisions: Vec<Table>,
    pub(super) streams: Vec<Table>,
    pub(super) slow: Option<Table>,
    pub(super) commands: Commands,
    pub(super) cold: Vec<f64>,
    pub(super) readings: Vec<Reading>,
}

/// Starts everything, measures it and ends it again.
///
/// # Errors
///
/// When a server does not start or breaks off.
pub async fn run(setup: &Setup) -> io::Result<Outcome> {
    let plan = &setup.plan;
    let provider = Subject::own("direct", &["provider"]).await?;
    let upstream = provider.address;
    if let Some(environment) = &setup.litellm {
        // If it does not start, now is the time to say so, and not when all else is measured.
        drop(Foreign::litellm(environment, upstream).await?);
    }
    let redis = RedisServer::start().await;
    let cache = |near: bool| {
        format!("  session_cache: {{type: redis, url: '{}', near_copies: {near}}}\n", redis.url())
    };
    let gateway =
        async |name, routing: &str| Subject::gateway(name, &setup.gateway, upstream, routing).await;
    let to = ["floor", "--upstream", &upstream.to_string()];
    let floor = Subject::own("floor", &to).await?;
    let whole = Subject::own("whole", &[&to[..], &["--whole"]].concat()).await?;
    let memory = gateway("memory", "").await;
    let near = gateway("Redis, near copies", &cache(true)).await;
    let plain = gateway("Redis, none", &cache(false)).await;
    let nginx = Subject::foreign("nginx", Foreign::nginx(upstream).await?);
    let haproxy = Subject::foreign("HAProxy", Foreign::haproxy(upstream).await?);

    let mut outcome = Outcome {
        plan: plan.clone(),
        plain: Vec::new(),
        decisions: Vec::new(),
        streams: Vec::new(),
        slow: None,
        commands: Commands::default(),
        cold: cold_starts(&setup.gateway, upstream, plan.pairs).await,
        readings: plan.sizes.iter().map(|size| reading(*size, plan.pairs, plan.span / 4)).collect(),
    };
    let all = [&provider, &floor, &whole, &memory, &near, &plain, &nginx, &haproxy];
    for (bytes, connections) in cases(&plan.sizes, &plan.connections) {
        outcome.plain.push(in_turns(plan, &all, [CHAT; 8], JSON, bytes, connections).await?);
    }
    outcome.commands = commands(&redis, &near, plan).await?;

    let constant = Subject::own("constant", &["constant"]).await?;
    for connections in &plan.connections {
        let pair = [&constant, &memory];
        let paths = [DECISION; 2];
        outcome.decisions.push(in_turns(plan, &pair, paths, JSON, 1 << 10, *connections).await?);
    }

    let scanning = gateway("memory, scanner", "  release: final_answer\n").await;
    let streamed = [&provider, &floor, &memory, &scanning, &nginx, &haproxy];
    let slower = Plan { span: plan.stream_span, ..plan.clone() };
    for connections in &plan.streams {
        let table = in_turns(&slower, &streamed, [CHAT; 6], EVENTS, 1 << 10, *connections);
        outcome.streams.push(table.await?);
    }

    if let Some(environment) = &setup.litellm {
        let server = Foreign::litellm(environment, upstream).await?;
        let litellm = Subject::foreign("LiteLLM", server);
        let pair = [&floor, &memory, &litellm];
        outcome.slow = Some(in_turns(plan, &pair, [CHAT; 3], JSON, 1 << 10, 16).await?);
    }
    Ok(outcome)
}

fn cases(sizes: &[usize], connections: &[usize]) -> Vec<(usize, usize)> {
    let of = |size: &usize| connections.iter().map(|count| (*size, *count)).collect::<Vec<_>>();
    sizes.iter().flat_map(of).collect()
}

/// Each of `subjects` has its turn, forth and then back, so that a machine that becomes slower or
/// faster does so for all.
async fn in_turns<const N: usize>(
    plan: &Plan,
    subjects: &[&Subject; N],
    paths: [&str; N],
    accept: &str,
    bytes: usize,
    connections: usize,
) -> io::Result<Table> {
    writeln!(io::stderr(), "{accept}, {bytes} bytes, {connections} connections")?;
    let body = conversation(bytes);
    let rows = subjects.map(|subject| Row { name: subject.name, samples: Vec::new(), resident: 0 });
    let mut table = Table { bytes, connections, rows: rows.into() };
    for turn in 0..plan.pairs {
        let mut order: Vec<usize> = (0..N).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let message = Message { path: paths[place], accept, body: &body };
            let Plan { span, warm_up, .. } = *plan;
            let load = Load { message, connections, warm_up, span };
            let subject = subjects[place];
            let broke =
                |error| io::Error::other(format!("{}, {bytes} bytes: {error}", subject.name));
            let sample = load.run(subject.address, subject.process).await.map_err(broke)?;
            table.rows[place].samples.push(sample);
            table.rows[place].resident = process::resident(subject.process);
        }
    }
    Ok(table)
}
