//! The keys that exist: a reader makes a key known by asking for it.

use super::super::at::{At, Context};
use super::super::load::build;
use super::super::tree::{self, KnownKeys, Node, Value};
use super::*;

/// A file with every key, each on a line of its own. `tls` has no value: a pair would have to be loaded.
const EVERY_KEY: &str = "\
version: v0.4.0
listeners:
  - type: model
    name: l
    address: 127.0.0.1
    port: 12000
    client_keys:
      - name: a
        key: k
        scope: s
    hosts: [h]
    tls:
    reuse_port: true
    trusted_proxies: [10.0.0.0/8]
    cors:
      origins: ['https://app.example']
    agents: x
    filter_chain: x
    input_filters: x
    max_retries: x
    message_format: x
    output_filters: x
    router: x
    timeout: x
model_providers:
  - model: openai/a
    name: a
    access_key: k
    default: true
    base_url: http://h
    provider_interface: openai
    passthrough_auth: false
    headers:
      x-any: v
    http_host: h
    protocols: [chat]
    input: [text]
    context_window: 200000
    cache_ttl_seconds: 300
    prompt_cache_key: true
    price:
      input: 2
      cached_input: 0.1
      cache_write: 2.5
      cache_write_1h: 4
      output: 10
      above:
        - prompt_tokens: 272000
          input: 4
          cached_input: 0.2
          cache_write: 5
          cache_write_1h: 8
          output: 15
    routing_preferences:
      - name: older
        description: d
    internal: x
llm_providers:
  - model: groq/b
routing_preferences:
  - name: r
    description: d
    models: [openai/a]
    selection_policy: x
model_aliases:
  fast:
    target: openai/a
routing:
  session_ttl_seconds: 60
  session_max_entries: 10
  session_expiry: sliding
  session_max_age_seconds: 600
  session_cache:
    type: redis
    url: redis://h
    ca_file: Cargo.toml
    cert_file: Cargo.toml
    key_file: Cargo.toml
    key_secret: s
    previous_key_secret: t
    tenant_header: x-tenant
    key_prefix: p
    command_timeout_ms: 9
    durability: primary
    near_copies: true
    require_store: false
  session_headers: [x-run]
  session_baggage: false
  agent_headers: true
  body_ids: [conversation]
  fingerprint:
    secret: s
  sub_agents: own
  model_lanes: true
  mode:
    default: observe
    enforce:
      share: 10%
      tenants: [s]
      routes: [r]
    observe: x
    off: x
  policy:
    cost:
      max_switch_share: 10%
  release: ttl
  warm_up_turns: 1
  escalation: [openai/a]
  failover: true
  on_move: heal
  forward_session_header: true
  expose_epoch: false
  stamp_cache_key: true
  regret_sample: 0.5
  router:
    type: llm
    url: http://h
    model: m
    access_key: k
    timeout_ms: 9
  llm_provider: a
  model: a
  route_on_user_only: x
  routing_budget: x
admin:
  address: 127.0.0.1:1
  token: t
limits:
  body_bytes: 8192
  body_memory_bytes: 1048576
  body_timeout_ms: 8192
  header_bytes: 8192
  h2_header_bytes: 8192
  header_count: 99
  header_timeout_ms: 8192
  idle_timeout_ms: 8192
  send_timeout_ms: 8192
  drain_timeout_ms: 8192
  drain_delay_ms: 8192
  max_connections: 8192
  max_requests: 8192
  max_waiters: 8192
  upstream_timeout_ms: 8192
  first_event_ms: 8192
  upstream_idle_timeout_ms: 8192
  upload_bytes: 8192
passthrough: openai
tracing:
  random_sampling: 5
  opentracing_grpc_endpoint: http://h
  span_attributes:
    header_prefixes: [x-]
    static:
      any: v
  exporters: x
  trace_arch_internal: x
overrides:
  llm_routing_model: a
  agent_orchestration_model: x
  disable_signals: x
  optimize_context_window: x
  orchestrator_model_context_length: x
  prompt_target_intent_matching_threshold: x
  upstream_connect_timeout: x
  upstream_tls_ca_path: x
  use_agent_orchestrator: x
agents: x
endpoints: x
error_target: x
filters: x
mode: x
model_metrics_sources: x
prompt_caching: x
prompt_guards: x
prompt_targets: x
ratelimits: x
state_storage: x
system_prompt: x
";

/// Goes through the mappings below `node` that a reader read, and calls `seen` with each key that
/// the reader asked for and whether it is there.
fn asked_keys(node: &Node, path: &str, seen: &mut dyn FnMut(String, bool)) {
    match &node.value {
        Value::Map(map) => {
            if let KnownKeys::Some(keys) = &*map.known.borrow() {
                for key in keys {
                    let there = map.entries.iter().any(|entry| entry.key == *key);
                    seen(format!("{path}.{key}"), there);
                }
            }
            for entry in &map.entries {
                asked_keys(&entry.node, &format!("{path}.{}", entry.key), seen);
            }
        }
        Value::List(items) => items.iter().for_each(|item| asked_keys(item, path, seen)),
        _ => {}
    }
}

#[test]
fn the_file_with_every_key_misses_none_that_a_reader_asks_for() {
    read(EVERY_KEY).unwrap();
    let tree = tree::parse(EVERY_KEY, "f").unwrap();
    let context = Context {
        file: "f",
        env: &env,
        upstream_override: false,
        errors: RefCell::default(),
        warnings: RefCell::default(),
        is_misnamed: false.into(),
    };
    build(&At::root(&context, &tree));
    let mut missing = Vec::new();
    asked_keys(&tree, "", &mut |key, there| {
        // The second provider and the older form of the listeners show no keys of their own.
        if !there && !key.starts_with(".llm_providers") {
            missing.push(key);
        }
    });
    assert_eq!(missing, [""; 0]);
}

/// A reader that gives up at a bad value before it has asked for its other keys would make them
/// unknown.
#[test]
fn a_bad_value_never_makes_another_key_unknown() {
    let lines: Vec<&str> = EVERY_KEY.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    for (at, line) in lines.iter().enumerate() {
        let key = line.split_inclusive(':').next().unwrap();
        // A list's first key stands two places further in than its dash.
        let depth = key.find(|c: char| c.is_alphabetic()).unwrap();
        let below = lines.iter().skip(at + 1).take_while(|line| {
            indent(line) > depth
                || depth > 0 && line.trim_start().starts_with('-') && indent(line) == depth
        });
        let below = below.count();
        for value in ["[[]]", "{}", "$NOT_SET", "null", "other"] {
            let mut damaged: Vec<String> = lines.iter().map(ToString::to_string).collect();
            damaged.splice(at..=at + below, [format!("{key} {value}")]);
            let text = damaged.join("\n");
            for error in errors(&text) {
                assert!(!error.contains("unknown key"), "{key} {value}: {error}");
                assert!(!error.contains("not valid YAML"), "{key} {value}: {error}\n{text}");
            }
        }
    }
}

#[test]
fn every_key_that_is_misspelt_is_unknown() {
    let lines: Vec<&str> = EVERY_KEY.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let (key, value) = line.split_once(':').unwrap();
        if ["      x-any", "  fast", "      any"].contains(&key) {
            continue;
        }
        let mut damaged: Vec<String> = lines.iter().map(ToString::to_string).collect();
        damaged[at] = format!("{key}zq:{value}");
        let found = errors(&damaged.join("\n"));
        let key = key.trim_start_matches([' ', '-']);
        let expected = format!("{key}zq: unknown key");
        assert!(found.iter().any(|error| error.contains(&expected)), "{line}: {found:?}");
    }
}
