//! One run: gateways over one Redis, many sessions, one kind of fault.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::client::Client;
use super::drive::{Driver, Pace};
use super::fault::{Backend, Fault, strike};
use super::history::Event;
use super::oracle::{Circumstances, RECOVERY, check};
use super::replicas::Replicas;
use super::report::Report;
use super::rng::Rng;
use super::stubs::Stubs;

/// Sessions at once: without pauses as many as keep the machine busy, with pauses as many as cost
/// little.
const FAST: usize = 16;
const SLOW: usize = 150;

/// Before the first fault, and between two.
const CALM: Duration = Duration::from_secs(2);

/// What a run consists of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The gateway's program.
    pub gateway: PathBuf,
    /// How many gateways.
    pub replicas: usize,
    /// How many sessions at least; more when the first round of the fault takes longer.
    pub sessions: usize,
    /// What goes wrong.
    pub fault: Fault,
    /// Whether pins count only once a replica of Redis holds them (`durability: replicated`).
    pub replicated: bool,
    /// Where all choices come from.
    pub seed: u64,
    /// No session begins after this.
    pub limit: Duration,
}

/// Starts everything, runs the plan, and holds every session against the rules. All processes end
/// with it.
///
/// # Panics
///
/// When a process does not start, or a fault cannot be made.
pub async fn run(plan: &Plan) -> Report {
    let stubs = Stubs::start(plan.seed).await;
    let backend = Backend::start(plan.fault).await;
    let urls: Vec<_> = (0..plan.replicas).map(|replica| backend.url(replica)).collect();
    let replicas = Replicas::start(plan, &stubs, &urls).await;
    let load = Arc::new(Load {
        plan: plan.clone(),
        client: Client::new(),
        replicas: Arc::new(replicas),
        born: Instant::now(),
        begun: AtomicUsize::new(0),
        struck: AtomicBool::new(false),
        ending: AtomicBool::new(false),
        done: AtomicBool::new(false),
    });
    let sessions = async {
        let paces = [Pace::Fast].repeat(FAST).into_iter().chain([Pace::Slow].repeat(SLOW));
        let mut workers = JoinSet::new();
        for pace in paces {
            workers.spawn(load.clone().worker(pace));
        }
        let sessions = workers.join_all().await;
        load.done.store(true, Ordering::Relaxed);
        sessions.into_iter().flatten().collect::<Vec<_>>()
    };
    let (sessions, faults) = tokio::join!(sessions, load.faults(&backend, &stubs));
    let circumstances = Circumstances {
        faults,
        cuts: plan.fault.cuts(),
        parts: plan.fault.parts(),
        loses: plan.fault.loses(),
        replicated: plan.replicated,
    };
    let mut report = Report::new(plan.fault, circumstances.faults.len(), load.born.elapsed());
    report.router_calls = stubs.calls.count();
    for events in &sessions {
        report.add(events, &check(events, &circumstances));
    }
    report
}

struct Load {
    plan: Plan,
    client: Client,
    replicas: Arc<Replicas>,
    born: Instant,
    begun: AtomicUsize,
    /// A fault was made and got over.
    struck: AtomicBool,
    /// No further session is to begin.
    ending: AtomicBool,
    done: AtomicBool,
}

impl Load {
    async fn worker(self: Arc<Self>, pace: Pace) -> Vec<Vec<Event>> {
        let mut sessions = Vec::new();
        while let Some(index) = self.next() {
            let rng = Rng::new(self.plan.seed, index as u64);
            let name = format!("s{index}");
            let driver =
                Driver::new(&self.client, &self.replicas, self.born, &self.ending, name, rng);
            sessions.push(driver.run(pace).await);
        }
        sessions
    }

    /// The number of the next session; none when it is enough.
    fn next(&self) -> Option<usize> {
        let index = self.begun.fetch_add(1, Ordering::Relaxed);
        let enough = index >= self.plan.sessions && self.struck.load(Ordering::Relaxed);
        if enough || self.born.elapsed() >= self.plan.limit {
            self.ending.store(true, Ordering::Relaxed);
            return None;
        }
        Some(index)
    }

    /// Makes faults for as long as sessions run, and says when.
    async fn faults(&self, backend: &Backend, stubs: &Stubs) -> Vec<(Duration, Duration)> {
        let mut faults = Vec::new();
        loop {
            sleep(CALM).await;
            if self.done.load(Ordering::Relaxed) {
                return faults;
            }
            let from = self.born.elapsed();
            strike(self.plan.fault, faults.len(), backend, &self.replicas, stubs).await;
            sleep(RECOVERY).await;
            faults.push((from, self.born.elapsed()));
            self.struck.store(true, Ordering::Relaxed);
        }
    }
}
