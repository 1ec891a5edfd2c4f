//! Which keys there are, and which of them are served.

use super::at::At;

/// What may stand under a key.
pub(super) enum Shape {
    /// One value; the section that owns it checks it.
    Value,
    /// Known to the older system and not served here: a warning.
    NotServed,
    /// A mapping with these keys.
    Map(&'static [(&'static str, Shape)]),
    /// A mapping whose keys are free names.
    Names(&'static Shape),
    /// A list.
    List(&'static Shape),
    /// A list of the first, or a mapping of the second shape.
    ListOrMap(&'static Shape, &'static Shape),
}

use Shape::{List, ListOrMap, Map, Names, NotServed, Value};

/// The whole file. `llm_providers` is the older name of `model_providers`.
pub(super) const FILE: Shape = Map(&[
    ("version", Value),
    ("listeners", ListOrMap(&LISTENER, &LISTENERS_BY_DIRECTION)),
    ("model_providers", List(&PROVIDER)),
    ("llm_providers", List(&PROVIDER)),
    ("routing_preferences", List(&PREFERENCE)),
    ("model_aliases", Names(&Map(&[("target", Value)]))),
    ("routing", ROUTING),
    ("admin", Map(&[("address", Value), ("token", Value)])),
    ("limits", LIMITS),
    ("tracing", TRACING),
    ("overrides", OVERRIDES),
    ("agents", NotServed),
    ("endpoints", NotServed),
    ("error_target", NotServed),
    ("filters", NotServed),
    ("mode", NotServed),
    ("model_metrics_sources", NotServed),
    ("prompt_caching", NotServed),
    ("prompt_guards", NotServed),
    ("prompt_targets", NotServed),
    ("ratelimits", NotServed),
    ("state_storage", NotServed),
    ("system_prompt", NotServed),
]);

const LISTENER: Shape = Map(&[
    ("type", Value),
    ("name", Value),
    ("address", Value),
    ("port", Value),
    ("client_keys", List(&Map(&[("name", Value), ("key", Value), ("scope", Value)]))),
    ("agents", NotServed),
    ("filter_chain", NotServed),
    ("input_filters", NotServed),
    ("max_retries", NotServed),
    ("message_format", NotServed),
    ("output_filters", NotServed),
    ("router", NotServed),
    ("timeout", NotServed),
]);

/// The older form: one listener for calls to models, one for prompts.
const LISTENERS_BY_DIRECTION: Shape =
    Map(&[("egress_traffic", LISTENER), ("ingress_traffic", NotServed)]);

const PROVIDER: Shape = Map(&[
    ("model", Value),
    ("name", Value),
    ("access_key", Value),
    ("default", Value),
    ("base_url", Value),
    ("provider_interface", Value),
    ("passthrough_auth", Value),
    ("headers", Names(&Value)),
    ("http_host", Value),
    ("protocols", List(&Value)),
    ("input", List(&Value)),
    ("routing_preferences", List(&Map(&[("name", Value), ("description", Value)]))),
    ("internal", NotServed),
]);

const PREFERENCE: Shape = Map(&[
    ("name", Value),
    ("description", Value),
    ("models", List(&Value)),
    ("selection_policy", NotServed),
]);

const ROUTING: Shape = Map(&[
    ("session_ttl_seconds", Value),
    ("session_max_entries", Value),
    ("session_expiry", Value),
    ("session_max_age_seconds", Value),
    ("session_cache", SESSION_CACHE),
    ("agent_headers", Value),
    ("body_ids", List(&Value)),
    ("fingerprint", Map(&[("secret", Value)])),
    ("sub_agents", Value),
    ("model_lanes", Value),
    ("release", Value),
    ("warm_up_turns", Value),
    ("escalation", List(&Value)),
    ("failover", Value),
    ("forward_session_header", Value),
    ("expose_epoch", Value),
    ("regret_sample", Value),
    ("router", ROUTER),
    ("llm_provider", Value),
    ("model", Value),
    ("route_on_user_only", NotServed),
    ("routing_budget", NotServed),
]);

const SESSION_CACHE: Shape = Map(&[
    ("type", Value),
    ("url", Value),
    ("ca_file", Value),
    ("key_secret", Value),
    ("previous_key_secret", Value),
    ("tenant_header", Value),
    ("key_prefix", Value),
    ("command_timeout_ms", Value),
    ("durability", Value),
    ("near_copies", Value),
    ("require_store", Value),
]);

const LIMITS: Shape = Map(&[
    ("body_bytes", Value),
    ("body_timeout_ms", Value),
    ("header_bytes", Value),
    ("h2_header_bytes", Value),
    ("header_count", Value),
    ("header_timeout_ms", Value),
    ("idle_timeout_ms", Value),
    ("send_timeout_ms", Value),
    ("drain_timeout_ms", Value),
    ("max_connections", Value),
    ("max_requests", Value),
    ("max_waiters", Value),
    ("upstream_timeout_ms", Value),
    ("upstream_idle_timeout_ms", Value),
]);

const ROUTER: Shape = Map(&[
    ("type", Value),
    ("url", Value),
    ("model", Value),
    ("access_key", Value),
    ("timeout_ms", Value),
]);

const TRACING: Shape = Map(&[
    ("random_sampling", Value),
    ("opentracing_grpc_endpoint", Value),
    ("span_attributes", Map(&[("header_prefixes", List(&Value)), ("static", Names(&Value))])),
    ("exporters", NotServed),
    ("trace_arch_internal", NotServed),
]);

const OVERRIDES: Shape = Map(&[
    ("llm_routing_model", Value),
    ("agent_orchestration_model", NotServed),
    ("disable_signals", NotServed),
    ("optimize_context_window", NotServed),
    ("orchestrator_model_context_length", NotServed),
    ("prompt_target_intent_matching_threshold", NotServed),
    ("upstream_connect_timeout", NotServed),
    ("upstream_tls_ca_path", NotServed),
    ("use_agent_orchestrator", NotServed),
]);

/// Reports every key under `at` that is not in `shape`, and every value of the wrong kind.
pub(super) fn check(at: &At<'_>, shape: &Shape) {
    match shape {
        Value => {}
        NotServed => at.warn("known to the older system and not served here; it has no effect"),
        Map(keys) => {
            for child in at.entries() {
                match keys.iter().find(|(name, _)| *name == child.key()) {
                    Some((_, shape)) => check(&child, shape),
                    None => child.error(unknown(child.key(), keys.iter().map(|(name, _)| *name))),
                }
            }
        }
        Names(shape) => at.entries().iter().for_each(|child| check(child, shape)),
        List(shape) => at.items().iter().for_each(|child| check(child, shape)),
        ListOrMap(item, _) if at.is_list() => check(at, &List(item)),
        ListOrMap(_, map) => check(at, map),
    }
}

fn unknown(key: &str, known: impl Iterator<Item = &'static str>) -> String {
    match nearest(key, known) {
        Some(nearest) => format!("unknown key, did you mean {nearest}?"),
        None => "unknown key".to_owned(),
    }
}

/// The name that `text` was most likely meant to be; nothing when no name is near.
pub(super) fn nearest<'a>(text: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, name)| *distance <= name.len().max(3) / 3)
        .min()
        .map(|(_, name)| name)
}
