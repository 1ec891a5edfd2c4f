//! Files of the older system, in the forms of its versions.

use super::*;

const PINNING: &str = include_str!("../../../config/pinning-demo.yaml");
const REDIS: &str = include_str!("../../../config/redis-demo.yaml");

fn routes(config: &Config) -> Vec<(&str, Vec<&str>)> {
    config
        .preferences
        .iter()
        .map(|p| (p.name.as_str(), p.models.iter().map(ModelName::as_str).collect()))
        .collect()
}

#[test]
fn the_pinning_demo_reads_as_it_is() {
    let config = read(PINNING).unwrap();
    assert_eq!(warnings(&config), [""; 0]);
    assert_eq!(
        routes(&config),
        [
            ("complex_reasoning", vec!["openai/gpt-4o"]),
            ("code_generation", vec!["anthropic/claude-sonnet-4-20250514"]),
        ]
    );
    let default = config.providers.iter().find(|provider| provider.default).unwrap();
    assert_eq!(default.model.as_str(), "openai/gpt-4o-mini");
    assert_eq!(default.access_key.as_ref().unwrap().expose_secret(), "hush-OPENAI_API_KEY");
    let collector = "http://localhost:4317".parse().unwrap();
    assert_eq!(config.tracing, Tracing { endpoint: Some(collector), ..Tracing::default() });
}

#[test]
fn the_redis_demo_reads_as_it_is() {
    let config = read(REDIS).unwrap();
    assert_eq!(
        warnings(&config),
        ["tracing.trace_arch_internal: \
          known to the older system and not served here; it has no effect"]
    );
    assert_eq!(
        routes(&config),
        [
            ("fast_responses", vec!["openai/gpt-4o-mini"]),
            ("deep_reasoning", vec!["openai/gpt-5.2", "openai/gpt-4o-mini"]),
        ]
    );
    assert_eq!(
        config.routing.expiry,
        Expiry::sliding(Duration::from_secs(300), Duration::from_secs(86_400))
    );
    assert_eq!(config.routing.cache.to_string(), "redis://localhost:6379");
    let SessionCache::Redis(redis) = config.routing.cache else { panic!() };
    assert!(!redis.require_store);
    assert_eq!(redis.key_prefix, "plano:affinity:");
    assert_eq!(redis.command_timeout, Duration::from_millis(50));
    assert_eq!(redis.durability, Durability::Primary);
}

#[test]
fn the_same_route_on_several_providers_is_one_with_several_models() {
    let config = read(
        "llm_providers:
  - {model: openai/a, routing_preferences: [{name: r, description: first}]}
  - {model: openai/b, routing_preferences: [{name: s, description: x}, {name: r, description: no}]}
",
    )
    .unwrap();
    assert_eq!(routes(&config), [("r", vec!["openai/a", "openai/b"]), ("s", vec!["openai/b"])]);
    assert_eq!(config.preferences[0].description, "first");
}

#[test]
fn both_forms_of_listeners_are_read() {
    let config = with_model(
        "listeners:
  ingress_traffic: {address: 0.0.0.0, port: 10000, message_format: openai, timeout: 30s}
  egress_traffic: {address: 127.0.0.1, port: 12001, message_format: openai, timeout: 30s}
",
    );
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].port, 12_001);
    let paths: Vec<_> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
    let expected = [
        "listeners.ingress_traffic",
        "listeners.egress_traffic.message_format",
        "listeners.egress_traffic.timeout",
    ];
    assert_eq!(paths, expected);

    let config = with_model(
        "listeners:
  - {type: agent, name: a, port: 8001, router: plano_orchestrator_v1, agents: [{id: x}]}
  - {type: prompt, name: p, port: 10000}
  - {type: model, name: m, port: 12002, timeout: 300s, max_retries: 3}
",
    );
    assert_eq!(config.listeners.len(), 1);
    assert_eq!((config.listeners[0].name.as_str(), config.listeners[0].port), ("m", 12_002));
    let paths: Vec<_> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
    for path in ["listeners[0]", "listeners[1]", "listeners[2].timeout", "listeners[2].max_retries"]
    {
        assert!(paths.contains(&path), "{path}: {paths:?}");
    }
}

#[test]
fn known_keys_that_are_not_served_warn_with_their_path() {
    let config = with_model(
        "routing_preferences:
  - {name: r, description: d, models: [gpt-4o], selection_policy: {prefer: cheapest}}
routing: {routing_budget: {daily: 1}, route_on_user_only: true}
tracing: {exporters: [{type: posthog, url: x, api_key: hush}]}
overrides: {disable_signals: true}
endpoints: {app: {endpoint: localhost}}
model_metrics_sources: []
prompt_caching: {enabled: true}
state_storage: {type: postgres, connection_string: $NOT_SET}
",
    );
    let paths: Vec<_> = config.warnings.iter().map(|warning| warning.path.as_str()).collect();
    let expected = [
        "routing_preferences[0].selection_policy",
        "routing.route_on_user_only",
        "routing.routing_budget",
        "tracing.exporters",
        "overrides.disable_signals",
        "endpoints",
        "model_metrics_sources",
        "prompt_caching",
        "state_storage",
    ];
    assert_eq!(paths, expected);
    assert!(!warnings(&config).concat().contains("hush"));
}

/// Each row: what names the routing model, and the address and model that are asked.
#[test]
fn a_provider_may_be_the_routing_model() {
    let providers = "
model_providers:
  - {model: openai/gpt-4o}
  - {model: local/Arch-Router, name: arch, base_url: 'http://localhost:8001', access_key: $TEAM_KEY}
  - {model: groq/*}
  - {model: anthropic/claude}
";
    let arch = Some(("http://localhost:8001/v1", "Arch-Router"));
    let groq = Some(("https://api.groq.com/openai/v1", "x"));
    for (text, expected) in [
        ("overrides: {llm_routing_model: Arch-Router}", arch),
        ("overrides: {llm_routing_model: local/Arch-Router}", arch),
        ("overrides: {llm_routing_model: groq/x}", groq),
        ("routing: {llm_provider: arch}", arch),
        ("routing: {llm_provider: local, model: Arch-Router}", arch),
        ("routing: {llm_provider: groq, model: groq/x}", groq),
        ("routing: {model: Arch-Router}", arch),
        ("routing: {llm_provider: groq}", None),
        ("routing: {llm_provider: nobody}", None),
        ("overrides: {llm_routing_model: Plano-Orchestrator}", None),
        ("overrides: {llm_routing_model: anthropic/claude}", None),
    ] {
        let config = read(&format!("{providers}{text}\n")).unwrap();
        let asked = match &config.routing.router {
            Router::Llm { url, model, .. } => Some((url.to_string(), model.clone())),
            _ => None,
        };
        let asked = asked.as_ref().map(|(url, model)| (url.as_str(), model.as_str()));
        assert_eq!(asked, expected, "{text}");
        assert_eq!(config.warnings.len(), usize::from(expected.is_none()), "{text}");
    }
}

#[test]
fn a_router_that_is_given_goes_before_the_older_keys() {
    let config = with_model(
        "routing: {router: {type: plano, url: 'http://other:12000'}}
overrides: {llm_routing_model: gpt-4o}
",
    );
    assert!(matches!(config.routing.router, Router::Plano { .. }));
}
