//! The files for containers, Kubernetes and systemd fit the gateway and each other, as far as that can be
//! seen without an engine that runs them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use affinity_tests::{Gateway, gateway, get, within};
use example_gateway::config::{Config, Mode};
use serde_json::{Value, json};
use tokio::process::Command;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// What the pods serve; every variable has a value that fits.
fn served() -> (Config, BTreeSet<String>) {
    let asked = std::cell::RefCell::<BTreeSet<String>>::default();
    let env = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        Some(match name {
            "REDIS_URL" => "redis://h".to_owned(),
            "OTLP_ENDPOINT" => "http://h:4317".to_owned(),
            _ => "a-secret-of-some-length".to_owned(),
        })
    };
    let text = read("kubernetes/gateway.yaml");
    let config = Config::parse(&text, "gateway.yaml", &env, Mode::Full).unwrap();
    (config, asked.into_inner())
}

/// The objects of the base, by kind and name.
fn objects() -> Vec<Value> {
    let base: Value = serde_saphyr::from_str(&read("kubernetes/kustomization.yaml")).unwrap();
    let resources = base["resources"].as_array().unwrap().iter();
    let files = resources.map(|name| format!("kubernetes/{}", name.as_str().unwrap()));
    files.flat_map(|name| serde_saphyr::from_multiple::<Value>(&read(&name)).unwrap()).collect()
}

fn find<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(is_it).unwrap_or_else(|| panic!("no {kind} {name}"))
}

fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn every_selector_finds_its_pods_and_every_port_is_open() {
    let objects = objects();
    let labels = |kind: &'static str| {
        let of = objects.iter().filter(move |object| object["kind"] == kind);
        of.map(|object| object["spec"]["template"]["metadata"]["labels"].clone())
    };
    let pods: Vec<_> = labels("Deployment").collect();
    for object in &objects {
        let selector = match object["kind"].as_str().unwrap() {
            "Service" => &object["spec"]["selector"],
            "NetworkPolicy" => &object["spec"]["podSelector"]["matchLabels"],
            _ => &object["spec"]["selector"]["matchLabels"],
        };
        assert!(pods.contains(selector), "{object}");
        let name = object["metadata"]["name"].as_str().unwrap();
        if object["kind"] == "Service" {
            let opened = &container(find(&objects, "Deployment", name))["ports"][0];
            let port = &object["spec"]["ports"][0];
            let target = port.get("targetPort").unwrap_or(&port["port"]);
            assert!([&opened["name"], &opened["containerPort"]].contains(&target), "{object}");
        }
    }
    let gateway = container(find(&objects, "Deployment", "affinity-gateway"));
    let (config, asked) = served();
    assert_eq!(gateway["ports"][0]["containerPort"], config.listeners[0].port);
    assert!(config.listeners[0].address.is_unspecified() && config.warnings.is_empty());
    let given = gateway["env"].as_array().unwrap();
    let name = |one: &Value| one["name"].as_str().unwrap().to_owned();
    let is_part = |one: &Value| {
        let reference = format!("$({})", name(one));
        given
            .iter()
            .any(|other| other["value"].as_str().is_some_and(|value| value.contains(&reference)))
    };
    let wanted: BTreeSet<_> = given.iter().filter(|one| !is_part(one)).map(name).collect();
    assert_eq!(wanted, asked, "the variables that are given and those that are asked for");
    let url = given.iter().find(|one| one["name"] == "REDIS_URL").unwrap();
    let (login, server) = url["value"].as_str().unwrap().rsplit_once('@').unwrap();
    assert_eq!(login, "redis://:$(REDIS_PASSWORD)");
    let redis = server.split(':').next().unwrap();
    find(&objects, "Service", redis);
    let from = &find(&objects, "NetworkPolicy", redis)["spec"]["ingress"][0]["from"][0];
    let gateways = &find(&objects, "Deployment", "affinity-gateway")["spec"]["selector"];
    assert_eq!(&from["podSelector"], gateways, "who reaches Redis");
    let generated: Value = serde_saphyr::from_str(&read("kubernetes/kustomization.yaml")).unwrap();
    let volume = &find(&objects, "Deployment", "affinity-gateway")["spec"]["template"]["spec"];
    let map = &generated["configMapGenerator"][0];
    assert_eq!(volume["volumes"][0]["configMap"]["name"], map["name"]);
    assert_eq!(map["files"], json!(["gateway.yaml"]));
    let user = format!("USER {0}:{0}", gateway["securityContext"]["runAsUser"]);
    assert!(read("Containerfile").contains(&user), "{user}");
}

#[test]
fn what_ends_a_process_leaves_it_the_time_to_drain() {
    let limits = served().0.limits;
    let draining = limits.drain_delay + limits.drain_timeout;
    let objects = objects();
    let deployment = find(&objects, "Deployment", "affinity-gateway");
    let seconds = |value: &Value| Duration::from_secs(value.as_u64().unwrap());
    let grace = seconds(&deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]);
    let sleep = seconds(&container(deployment)["lifecycle"]["preStop"]["sleep"]["seconds"]);
    assert!(grace > sleep + draining, "{grace:?}");
    let compose: Value = serde_saphyr::from_str(&read("compose.yaml")).unwrap();
    let grace = compose["services"]["gateway"]["stop_grace_period"].as_str().unwrap();
    let grace: u64 = grace.strip_suffix('s').unwrap().parse().unwrap();
    assert!(Duration::from_secs(grace) > draining, "{grace}");
    let unit = read("systemd/affinity.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(Duration::from_secs(stop.parse().unwrap()) > draining, "{stop}");
}

#[tokio::test]
async fn the_probes_ask_for_paths_that_are_served() {
    let gateway = Gateway::command(&["serve", "--listen", "127.0.0.1:0"]).await;
    let objects = objects();
    let container = container(find(&objects, "Deployment", "affinity-gateway"));
    for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
        assert_eq!(container[probe]["httpGet"]["path"], path);
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
        assert_eq!(gateway.ask(&get(path)).await.status, 200, "{path}");
    }
}

/// What `program` says and whether it was content; `None` if it is not installed.
async fn said(program: &str, arguments: &[&str]) -> Option<(bool, String)> {
    let output = Command::new(program).args(arguments).kill_on_drop(true).output();
    match within(output).await {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
        }
        Err(_) => {
            eprintln!("{program} is not installed: this part was not checked");
            None
        }
    }
}

#[tokio::test]
async fn kubectl_builds_the_base() {
    let folder = file("kubernetes");
    let built = said("kubectl", &["kustomize", folder.to_str().unwrap()]).await;
    let Some((success, built)) = built else { return };
    assert!(success, "{built}");
    let built: Vec<Value> = serde_saphyr::from_multiple(&built).unwrap();
    assert_eq!(built.len(), objects().len() + 1, "with the configuration");
    let deployment = find(&built, "Deployment", "affinity-gateway");
    let map = &deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"];
    let map = find(&built, "ConfigMap", map.as_str().unwrap());
    assert_eq!(map["data"]["gateway.yaml"], read("kubernetes/gateway.yaml"));
}

#[tokio::test]
async fn systemd_finds_no_fault_with_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let unit = read("systemd/affinity.service");
    let program = "/usr/local/bin/example-gateway";
    assert!(unit.contains(program));
    let [service, socket] =
        ["affinity.service", "affinity.socket"].map(|name| folder.path().join(name));
    std::fs::write(&service, unit.replace(program, gateway().to_str().unwrap())).unwrap();
    std::fs::write(&socket, read("systemd/affinity.socket")).unwrap();
    let units = ["verify", service.to_str().unwrap(), socket.to_str().unwrap()];
    let Some((_, said)) = said("systemd-analyze", &units).await else { return };
    // systemd before 253 does not know the type.
    let unknown = "Failed to parse service type, ignoring: notify-reload";
    let about_ours = said.lines().filter(|line| line.contains("affinity"));
    let faults: Vec<_> = about_ours.filter(|line| !line.ends_with(unknown)).collect();
    assert!(faults.is_empty(), "{faults:?}");
    let listens = read("systemd/affinity.socket");
    let listens = listens.lines().find_map(|line| line.strip_prefix("ListenStream=")).unwrap();
    let default = &Config::embedded().listeners[0];
    assert_eq!(listens, format!("{}:{}", default.address, default.port));
}
