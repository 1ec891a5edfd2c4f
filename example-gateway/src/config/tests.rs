//! The files that must be read, and what is made of them.

mod admin;
mod advice;
mod errors;
mod identity;
mod keys;
mod limits;
mod older;
mod parts;
mod policies;
mod prices;
mod protocols;
mod random;
mod rollout;
mod secrets;
mod traces;

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use affinity_layer::{BodyId, Expiry, ModelName};
use http::Uri;
use secrecy::ExposeSecret as _;

use super::summary::summary;
use super::*;

/// No value of these may ever be shown.
fn env(name: &str) -> Option<String> {
    let known = ["OPENAI_API_KEY", "ANTHROPIC_API_KEY", "TEAM_KEY", "REDIS_PASSWORD"];
    match name {
        "PORT" => Some("4000".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => known.contains(&name).then(|| format!("hush-{name}")),
    }
}

fn read(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, "config.yaml", &env, Mode::Full)
}

/// One declared model, so that a test shows only what it is about.
const MODEL: &str = "model_providers: [{model: openai/gpt-4o}]\n";

fn with_model(text: &str) -> Config {
    read(&format!("{MODEL}{text}")).unwrap()
}

fn errors(text: &str) -> Vec<String> {
    match read(text) {
        Ok(_) => Vec::new(),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

/// Each row: what follows a file with one good model in line 1, and the one error that it gives.
fn refused(rows: &[(&str, &str)]) {
    for (text, expected) in rows {
        let found = errors(&format!("{MODEL}{text}\n"));
        assert_eq!(found, [format!("config.yaml:{expected}")], "{text}");
    }
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(|warning| format!("{}: {}", warning.path, warning.message)).collect()
}

#[test]
fn one_model_is_a_configuration_and_the_rest_has_defaults() {
    let config = with_model("");
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address, IpAddr::from([127, 0, 0, 1]));
    assert_eq!(config.listeners[0].port, 12_000);
    assert_eq!(config.providers[0].base_url, "https://api.openai.com/v1");
    assert_eq!(config.providers[0].interface, Interface::OpenAi);
    let spoken = Protocols { chat: true, messages: false, responses: true };
    assert_eq!(config.providers[0].protocols, spoken);
    let routing = &config.routing;
    assert_eq!(routing.expiry, Expiry::default());
    assert_eq!(routing.max_entries, 10_000);
    assert_eq!(routing.release, Release::Ttl);
    assert!(routing.failover && routing.forward_session_header && routing.tenant_header.is_none());
    assert!(!routing.expose_epoch);
    assert!(matches!(routing.cache, SessionCache::Memory));
    assert!(matches!(routing.router, Router::Lexical));
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn every_routing_key_is_read() {
    let config = with_model(
        "routing:
  session_expiry: sliding
  session_ttl_seconds: 60
  session_max_age_seconds: 3600
  session_max_entries: 10000000
  release: user_turn
  failover: false
  forward_session_header: false
  expose_epoch: true
  router: {type: llm, url: 'http://localhost:8000/v1/', model: m, access_key: $TEAM_KEY, timeout_ms: 250}
  session_cache:
    type: redis
    url: rediss://:$REDIS_PASSWORD@redis.internal:6380/2
    tenant_header: X-Tenant-Id
    key_prefix: ''
    command_timeout_ms: 20
    durability: replicated
    require_store: true
",
    );
    let routing = config.routing;
    let expiry = Expiry::sliding(Duration::from_secs(60), Duration::from_secs(3600));
    assert_eq!(routing.expiry, expiry);
    assert_eq!(routing.max_entries, 10_000_000);
    assert_eq!(routing.release, Release::UserTurn);
    assert!(!routing.failover && !routing.forward_session_header && routing.expose_epoch);
    assert_eq!(routing.tenant_header.unwrap(), "x-tenant-id");
    let Router::Llm { url, model, access_key, timeout } = routing.router else { panic!() };
    assert_eq!((url.to_string().as_str(), model.as_str()), ("http://localhost:8000/v1", "m"));
    assert_eq!(access_key.unwrap().expose_secret(), "hush-TEAM_KEY");
    assert_eq!(timeout, Duration::from_millis(250));
    assert!(routing.cache.is_required());
    let SessionCache::Redis(redis) = routing.cache else { panic!() };
    let url = "rediss://:hush-REDIS_PASSWORD@redis.internal:6380/2";
    assert_eq!(redis.url.expose_secret(), url);
    assert_eq!(redis.key_prefix, "");
    assert_eq!(redis.command_timeout, Duration::from_millis(20));
    assert_eq!(redis.durability, Durability::Replicated);
}

#[test]
fn a_provider_says_how_it_is_reached() {
    let config = read(
        "model_providers:
  - model: local/llama
    name: mine
    base_url: http://localhost:8001/api
    provider_interface: claude
    headers: {X-Org: 'org $TEAM_KEY'}
    http_host: llama.internal
    protocols: [messages]
  - {model: anthropic/*, passthrough_auth: true, access_key: $ANTHROPIC_API_KEY}
model_aliases: {fast: {target: llama}, smart: {target: anthropic/claude-x}}
",
    )
    .unwrap();
    let [local, anthropic] = &config.providers[..] else { panic!() };
    assert_eq!(local.base_url, "http://localhost:8001/api");
    assert_eq!((local.name.as_deref(), local.interface), (Some("mine"), Interface::Anthropic));
    assert_eq!(local.headers["x-org"], "org hush-TEAM_KEY");
    assert_eq!(local.http_host.as_ref().unwrap(), "llama.internal");
    assert_eq!(local.protocols, Protocols { chat: false, messages: true, responses: false });
    assert!(anthropic.is_wildcard() && anthropic.serves("anthropic/x") && !anthropic.serves("x/y"));
    assert_eq!(anthropic.interface, Interface::Anthropic);
    assert_eq!(config.aliases["fast"].as_str(), "local/llama");
    assert_eq!(config.aliases["smart"].as_str(), "anthropic/claude-x");
    let expected = ["model_providers[1]: access_key has no effect with passthrough_auth: true"];
    assert_eq!(warnings(&config), expected);
}

#[test]
fn localhost_is_an_address() {
    let config = with_model(
        "listeners: [{address: localhost, port: 1}]\n\
         admin: {address: 'localhost:12002', token: t}\n",
    );
    assert_eq!(config.listeners[0].address, IpAddr::from([127, 0, 0, 1]));
    assert_eq!(config.admin.unwrap().address.to_string(), "127.0.0.1:12002");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn a_listener_beyond_loopback_without_keys_warns() {
    for address in ["0.0.0.0", "'::'", "192.168.0.7"] {
        let config = with_model(&format!("listeners: [{{address: {address}}}]\n"));
        assert_eq!(config.warnings.len(), 1, "{address}");
        assert_eq!(config.warnings[0].path, "listeners[0]");
        assert!(config.warnings[0].message.contains("client_keys"), "{address}");
    }
    assert!(with_model("listeners: [{address: '::1'}]\n").warnings.is_empty());
}

#[test]
fn with_an_upstream_override_providers_need_neither_keys_nor_addresses() {
    let text = "
model_providers:
  - {model: openai/gpt-4o, access_key: $NOT_SET}
  - {model: mine/m, base_url: $NOT_SET, headers: {x-key: $EMPTY}}
  - {model: yours/m}
overrides: {llm_routing_model: mine/m}
";
    assert!(read(text).is_err());
    let mut config = Config::parse(text, "f", &env, Mode::UpstreamOverride).unwrap();
    assert!(config.providers.iter().all(|provider| provider.access_key.is_none()));
    assert!(config.providers[1].headers.is_empty());
    config.replace_upstreams(&Uri::from_static("http://127.0.0.1:9000"));
    assert!(config.providers.iter().all(|provider| provider.base_url == "http://127.0.0.1:9000/"));
    let Router::Llm { url, .. } = config.routing.router else { panic!() };
    assert_eq!(url, "http://127.0.0.1:9000/v1");
}

#[test]
fn an_upstream_override_leaves_a_router_of_its_own_alone() {
    let text =
        format!("{MODEL}routing: {{router: {{type: llm, url: 'http://localhost:8000/v1'}}}}");
    let mut config = Config::parse(&text, "f", &env, Mode::UpstreamOverride).unwrap();
    config.replace_upstreams(&Uri::from_static("http://127.0.0.1:9000"));
    let Router::Llm { url, .. } = config.routing.router else { panic!() };
    assert_eq!(url, "http://localhost:8000/v1");
}

#[test]
fn the_summary_says_what_is_served() {
    let mut config = Config::embedded();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // By default it depends on the machine.
    config.limits.body_memory_bytes = Some(134_217_728);
    assert_eq!(
        summary(&config).to_string(),
        "listener  model_listener: 127.0.0.1:12000, client keys: 0
model     openai/gpt-6.1-terra (default): https://api.openai.com/v1, without a key, speaks chat, responses
model     openai/gpt-6.1-sol: https://api.openai.com/v1, without a key, speaks chat, responses
model     openai/*: https://api.openai.com/v1, without a key, speaks chat, responses
model     anthropic/claude-sonnet-5-5: https://api.anthropic.com/v1, without a key, speaks chat, messages
model     anthropic/*: https://api.anthropic.com/v1, without a key, speaks chat, messages
route     complex_reasoning: openai/gpt-6.1-sol, anthropic/claude-sonnet-5-5
route     code_generation: anthropic/claude-sonnet-5-5, openai/gpt-6.1-sol
router    lexical
sessions  memory, at most 10000 in memory
limits    body_bytes 33554432, body_memory_bytes 134217728, body_timeout_ms 60000, upload_bytes 1073741824, header_bytes 131072
limits    h2_header_bytes 16384, header_count 100, header_timeout_ms 10000, idle_timeout_ms 90000, send_timeout_ms 60000
limits    drain_timeout_ms 30000, drain_delay_ms 2000, max_connections 10000, max_requests 4096, max_waiters 2048
limits    upstream_timeout_ms 300000, first_event_ms 2000, upstream_idle_timeout_ms 300000
pins      end 600 s after the last use, failover on"
    );
}

#[test]
fn the_embedded_file_serves_with_real_keys_too() {
    let config = read(include_str!("../../config/default.yaml")).unwrap();
    assert!(config.providers.iter().all(|provider| provider.access_key.is_some()));
}

#[test]
fn anchors_and_merge_keys_are_read() {
    let config = read(
        "model_providers:
  - &first {model: openai/a, access_key: &key $OPENAI_API_KEY, default: true}
  - {<<: *first, model: openai/b, default: false}
  - {model: openai/c, access_key: *key}
",
    )
    .unwrap();
    let keys = config.providers.iter().filter_map(|provider| provider.access_key.as_ref());
    assert!(keys.map(|key| key.expose_secret()).eq(["hush-OPENAI_API_KEY"; 3]));
    assert!(config.providers[0].default && !config.providers[1].default);
}

#[test]
fn an_address_of_the_command_line_is_checked_like_one_of_the_file() {
    let upstream = http_base("http://localhost:4000").unwrap();
    let mut config =
        with_model("listeners: [{type: model, name: m}, {type: model, name: n, port: 1}]");
    config.replace_upstreams(&upstream);
    assert!(!config.calls_itself());
    config.listen_on("127.0.0.1:4000".parse().unwrap());
    assert!(!config.is_open());
    assert!(config.calls_itself(), "an upstream that the command line put there");
    assert_eq!(config.listeners.len(), 1);
    config.listen_on("0.0.0.0:4001".parse().unwrap());
    assert!(config.is_open(), "open to everybody");
    assert!(!config.calls_itself());
}
