//! The gateways: processes that share one Redis.

use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tempfile::TempDir;

use super::rng::Rng;
use super::run::Plan;
use super::stubs::{ROUTES, Stubs};
use crate::Gateway;

/// What all store calls of one request may take together. More than the gateway's default, because
/// gateways, clients and Redis share two cores here.
const STORE_BUDGET_MS: u32 = 250;

/// One hash slot holds every session, so that moving it moves all of them.
pub(super) const KEY_PREFIX: &str = "{integrity}:";

/// Gateways with equal configurations, except for the address of Redis.
#[derive(Debug)]
pub(super) struct Replicas {
    program: PathBuf,
    replicas: Vec<Replica>,
    _folder: TempDir,
}

#[derive(Debug)]
struct Replica {
    config: PathBuf,
    gateway: Mutex<Option<Gateway>>,
}

impl Replicas {
    /// One gateway for each of the addresses of Redis.
    pub(super) async fn start(plan: &Plan, stubs: &Stubs, redis: &[String]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut replicas = Vec::new();
        for (i, redis) in redis.iter().enumerate() {
            let config = folder.path().join(format!("{i}.yaml"));
            fs::write(&config, yaml(stubs, redis, plan.replicated)).expect("a file");
            replicas.push(Replica { config, gateway: Mutex::new(None) });
        }
        let all = Self { program: plan.gateway.clone(), replicas, _folder: folder };
        for replica in 0..all.len() {
            all.restart(replica).await;
        }
        all
    }

    pub(super) fn len(&self) -> usize {
        self.replicas.len()
    }

    /// Any replica that is up.
    pub(super) fn pick(&self, rng: &mut Rng) -> (usize, SocketAddr) {
        loop {
            let replica = usize::try_from(rng.next() % self.len() as u64).unwrap_or_default();
            let gateway = self.replicas[replica].gateway.lock();
            if let Some(gateway) = &*gateway.unwrap_or_else(PoisonError::into_inner) {
                return (replica, gateway.address());
            }
        }
    }

    /// Kills a replica (SIGKILL). No request is sent to it from then on.
    pub(super) async fn kill(&self, replica: usize) {
        let gateway = self.put(replica, None);
        if let Some(mut gateway) = gateway {
            gateway.signal("KILL").await;
            gateway.ended().await;
        }
    }

    /// Starts a replica that replaces the running one.
    pub(super) async fn restart(&self, replica: usize) {
        let config = self.replicas[replica].config.to_str().expect("a path in UTF-8");
        let arguments =
            ["serve", "--listen", "127.0.0.1:0", "--config", config, "--log-format", "json"];
        let gateway = Gateway::spawn(&self.program, &arguments).await;
        self.put(replica, Some(gateway));
    }

    fn put(&self, replica: usize, gateway: Option<Gateway>) -> Option<Gateway> {
        let place = &self.replicas[replica].gateway;
        std::mem::replace(&mut *place.lock().unwrap_or_else(PoisonError::into_inner), gateway)
    }
}

fn yaml(stubs: &Stubs, redis: &str, replicated: bool) -> String {
    let durability = if replicated { "replicated" } else { "primary" };
    let mut yaml =
        String::from("version: v0.4.0\nlisteners:\n  - {type: model, name: integrity}\n");
    yaml.push_str("model_providers:\n");
    for i in 0..ROUTES {
        let default = i == 0;
        let _ = writeln!(
            yaml,
            "  - {{model: openai/m{i}, access_key: none, default: {default}, base_url: 'http://{}'}}",
            stubs.provider
        );
    }
    yaml.push_str("routing_preferences:\n");
    for i in 0..ROUTES {
        let _ =
            writeln!(yaml, "  - {{name: r{i}, description: the route {i}, models: [openai/m{i}]}}");
    }
    let _ = write!(
        yaml,
        "routing:\n  session_max_entries: 200000\n  expose_epoch: true\n  \
         router: {{type: llm, url: 'http://{}/v1', model: Arch-Router, timeout_ms: 5000}}\n  \
         session_cache: {{type: redis, url: '{redis}', key_prefix: '{KEY_PREFIX}', \
         command_timeout_ms: {STORE_BUDGET_MS}, durability: {durability}}}\n",
        stubs.router
    );
    yaml
}
