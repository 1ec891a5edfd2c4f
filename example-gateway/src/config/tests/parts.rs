//! Files that must be refused: addresses, headers, and parts that do not fit together.

use super::*;

#[test]
fn addresses_are_refused_without_being_repeated() {
    let redis = |url: &str| format!("routing: {{session_cache: {{type: redis, url: '{url}'}}}}");
    let rows = [
        (
            "http://u:hush@h",
            "must start with redis://, rediss:// (also -cluster:// or -sentinel://) or unix://",
        ),
        ("redis://user:hu@sh@h", "an @ in the user name or password must be written %40"),
        ("redis://u:hush@h:99999", "must have a port from 1 to 65535, or none"),
        ("redis://$REDIS_PASSWORD@", "must name a host, and a port from 1 to 65535 or none"),
    ];
    for (url, why) in rows {
        refused(&[(&redis(url), &format!("2: routing.session_cache.url: {why}"))]);
    }
    refused(&[
        ("routing: {session_cache: {type: redis}}", "2: routing.session_cache: url is missing"),
        (
            "llm_providers: [{model: a/b, base_url: 'localhost:1'}]",
            "2: llm_providers[0].base_url: must start with http:// or https://",
        ),
        (
            "llm_providers: [{model: a/b, base_url: 'file:///etc'}]",
            "2: llm_providers[0].base_url: must start with http:// or https://",
        ),
        (
            "llm_providers: [{model: a/b, base_url: 'http://u:hush@h'}]",
            "2: llm_providers[0].base_url: must not hold credentials; use access_key or headers",
        ),
        (
            "routing: {router: {type: plano, url: 'http://localhost:12000'}}",
            "2: routing.router.url: leads back to a listener of this gateway",
        ),
        (
            "llm_providers: [{model: a/b, base_url: 'http://[::1]:12000/v1'}]",
            "2: llm_providers[0]: base_url leads back to a listener of this gateway",
        ),
    ]);
}

#[test]
fn header_names_are_checked_and_may_be_upper_case() {
    let tenant = |name: &str| format!("routing: {{session_cache: {{tenant_header: '{name}'}}}}");
    assert!(with_model(&tenant("X-Org")).routing.tenant_header.unwrap() == "x-org");
    for name in ["x org", "x:org", "é"] {
        let error = "2: routing.session_cache.tenant_header: is not a header name";
        refused(&[(&tenant(name), error)]);
    }
    for name in ["X-Model-Affinity", "x-routing-session-id", "x-session-id"] {
        let error = "2: routing.session_cache.tenant_header: \
                     names the session already; the tenant needs a header of its own";
        refused(&[(&tenant(name), error)]);
    }
    refused(&[
        (
            "llm_providers: [{model: groq/b, headers: {Host: x}}]",
            "2: llm_providers[0].headers.Host: is set by the gateway; for another host use http_host",
        ),
        (
            "llm_providers: [{model: groq/b, headers: {x: \"hush\\n\"}}]",
            "2: llm_providers[0].headers.x: is not a header value",
        ),
    ]);
}

#[test]
fn models_and_routes_must_fit_together() {
    refused(&[
        (
            "llm_providers: [{model: openai/gpt-4o}]",
            "2: llm_providers[0]: this model is declared already in line 1",
        ),
        (
            "llm_providers:\n- {model: groq/a, default: true}\n- {model: groq/b, default: true}",
            "4: llm_providers[1]: only one model can be the default; line 3 has one already",
        ),
        ("llm_providers: [{name: x}]", "2: llm_providers[0]: model is missing"),
        (
            "llm_providers: [{model: gpt-4o}]",
            "2: llm_providers[0].model: must be provider/id, for example openai/gpt-4o",
        ),
        (
            "llm_providers: [{model: \"a/\\nb\"}]",
            "2: llm_providers[0].model: the name holds a byte that is not allowed",
        ),
        (
            "llm_providers: [{model: groq/a, protocols: [chat, grpc]}]",
            "2: llm_providers[0].protocols[1]: must be one of: chat, messages, responses",
        ),
        (
            "routing_preferences:\n  - name: r\n    description: d\n    models:\n      - openai/gpt-4",
            "6: routing_preferences[0].models[0]: the model is not declared in model_providers, \
             did you mean openai/gpt-4o?",
        ),
        (
            "routing_preferences: [{name: r, models: []}]",
            "2: routing_preferences[0]: models must name at least one model",
        ),
        (
            "routing_preferences: [{name: r, models: [gpt-4o]}, {name: r, models: [gpt-4o]}]",
            "2: routing_preferences[1]: a preference above has the same name",
        ),
        (
            "model_aliases: {fast: {target: nothing}}",
            "2: model_aliases.fast.target: the model is not declared in model_providers",
        ),
        (
            "listeners: [{port: 1}, {port: 1}]",
            "2: listeners[1]: port 1 is taken by a listener above",
        ),
    ]);
    let unknown = errors("model_providers: [{model: mine/m}]\n");
    let expected = "config.yaml:1: model_providers[0]: base_url is missing; only these providers";
    assert!(unknown.len() == 1 && unknown[0].starts_with(expected), "{unknown:?}");
    for text in ["version: v0.4.0\n", "model_providers: []\n", "model_providers:\n"] {
        let expected = "config.yaml:1: model_providers must name at least one model";
        assert_eq!(errors(text), [expected], "{text}");
    }
}

#[test]
fn hosts_and_origins_are_refused_where_no_browser_sends_them() {
    let hosts = |hosts: &str| format!("listeners: [{{hosts: [{hosts}]}}]");
    let cors = |origins: &str, keys: &str| {
        format!("listeners: [{{{keys}cors: {{origins: [{origins}]}}}}]")
    };
    let shape = "must be an origin, for example https://app.example or http://localhost:3000";
    for host in ["'gw.example:80'", "'http://gw.example'", "'*.example'", "'u@h'", "'a b'"] {
        let why = "2: listeners[0].hosts[0]: must be a host without a port, or *";
        refused(&[(&hosts(host), why)]);
    }
    for origin in ["app.example", "'null'", "'https://app.example/'", "'https://u@h'", "'://h'"] {
        refused(&[(&cors(origin, ""), &format!("2: listeners[0].cors.origins[0]: {shape}"))]);
    }
    let why = "2: listeners[0].cors.origins[0]: * needs client_keys: every page could spend the \
               provider keys";
    refused(&[(&cors("'*'", ""), why)]);
    let missing = "2: listeners[0].cors: origins is missing";
    refused(&[("listeners: [{cors: {}}]", missing)]);
}

#[test]
fn trusted_proxies_are_addresses_or_blocks_of_them() {
    let proxies = |list: &str| format!("listeners: [{{trusted_proxies: {list}}}]");
    let config = with_model(&proxies("[10.0.0.0/8, 'fd00::/8', '::1', 192.0.2.7]"));
    let trusted = &config.listeners[0].trusted_proxies;
    let holds = |address: &str| trusted.hold(address.parse().unwrap());
    assert!(["10.1.2.3", "::ffff:10.1.2.3", "fd00::7", "::1", "192.0.2.7"].into_iter().all(holds));
    assert!(!["11.0.0.1", "::2", "127.0.0.1"].into_iter().any(holds));
    assert!(config.warnings.is_empty());
    let config = with_model(&proxies("[10.0.0.7/8]"));
    let why = "listeners[0].trusted_proxies[0]: the bits after the first 8 have no effect";
    assert_eq!(warnings(&config), [why]);
    let config =
        with_model("listeners: [{client_keys: [{name: a, key: k}], trusted_proxies: ['::1']}]");
    assert!(config.warnings.is_empty(), "they may speak the PROXY protocol with keys, too");
    let shape = "2: listeners[0].trusted_proxies[0]: must be an IP address or a block of them, for \
                 example 10.0.0.0/8";
    for block in ["proxy.example", "10.0.0.0/33", "'10.0.0.1:80'"] {
        refused(&[(&proxies(&format!("[{block}]")), shape)]);
    }
    let all =
        "2: listeners[0].trusted_proxies[0]: every address would be a proxy's, and none a client's";
    refused(&[
        (&proxies("[0.0.0.0/0]"), all),
        (&proxies("10.0.0.0/8"), "2: listeners[0].trusted_proxies: must be a list"),
    ]);
}
