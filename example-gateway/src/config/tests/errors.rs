//! The files that must be refused, and the words of each refusal.

use super::*;

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

#[test]
fn unknown_keys_name_the_nearest_one() {
    refused(&[
        (
            "routing:\n  session_ttl_second: 5",
            "3: routing.session_ttl_second: unknown key, did you mean session_ttl_seconds?",
        ),
        ("rooting: {}", "2: rooting: unknown key, did you mean routing?"),
        ("overrides: {llm_model: x}", "2: overrides.llm_model: unknown key"),
        (
            "routing:\n  session_cache:\n    typ: redis",
            "4: routing.session_cache.typ: unknown key, did you mean type?",
        ),
        (
            "listeners:\n  - name: a\n    prot: 1",
            "4: listeners[0].prot: unknown key, did you mean port?",
        ),
        ("\"a\\nb\": 1", "2: a\\nb: unknown key"),
    ]);
}

#[test]
fn values_out_of_range_name_the_range() {
    let ttl = "2: routing.session_ttl_seconds: must be a whole number of seconds, 1 to 315360000";
    let entries = "2: routing.session_max_entries: must be a whole number, 1 to 10000000";
    refused(&[
        ("routing: {session_ttl_seconds: 0}", ttl),
        ("routing: {session_ttl_seconds: -1}", ttl),
        ("routing: {session_ttl_seconds: 1e20}", ttl),
        ("routing: {session_ttl_seconds: 1.5}", ttl),
        ("routing: {session_ttl_seconds: 315360001}", ttl),
        ("routing: {session_ttl_seconds: 99999999999999999999999999}", ttl),
        ("routing: {session_ttl_seconds: 10 minutes}", ttl),
        ("routing: {session_ttl_seconds: [1]}", ttl),
        ("routing: {session_ttl_seconds: $TEAM_KEY}", ttl),
        ("routing: {session_max_entries: 0}", entries),
        ("routing: {session_max_entries: 10000001}", entries),
        (
            "routing: {session_expiry: sliding, session_max_age_seconds: 5}",
            "2: routing.session_max_age_seconds: must not be less than session_ttl_seconds",
        ),
        (
            "routing: {session_expiry: idle}",
            "2: routing.session_expiry: must be one of: fixed, sliding",
        ),
        (
            "routing: {release: never}",
            "2: routing.release: must be one of: ttl, final_answer, user_turn",
        ),
        ("routing: {failover: maybe}", "2: routing.failover: must be true or false"),
        ("routing: [1]", "2: routing: must be a mapping (key: value)"),
        ("listeners: [{port: 99999}]", "2: listeners[0].port: must be a whole number, 1 to 65535"),
        (
            "listeners: [{address: here}]",
            "2: listeners[0].address: must be an IP address, for example 127.0.0.1",
        ),
        ("listeners: [{type: tcp}]", "2: listeners[0].type: must be one of: model, prompt, agent"),
        (
            "tracing: {random_sampling: 101}",
            "2: tracing.random_sampling: must be a number, 0 to 100",
        ),
        (
            "routing: {router: {type: smart}}",
            "2: routing.router.type: must be one of: lexical, llm, plano",
        ),
        ("routing: {router: {type: llm}}", "2: routing.router: url is missing"),
    ]);
}

#[test]
fn addresses_are_refused_without_being_repeated() {
    let redis = |url: &str| format!("routing: {{session_cache: {{type: redis, url: '{url}'}}}}");
    let rows = [
        (
            "http://u:hush@h",
            "must start with redis:// or rediss:// (also -cluster:// or -sentinel://)",
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
            "2: routing_preferences[1]: a preference of this name stands above",
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
fn variables_that_are_not_set_are_named_and_the_others_not_shown() {
    refused(&[
        (
            "llm_providers: [{model: groq/a, access_key: $NOT_SET}]",
            "2: llm_providers[0].access_key: environment variable NOT_SET is not set",
        ),
        (
            "llm_providers: [{model: groq/a, access_key: 'x${NOT_SET}$TEAM_KEY'}]",
            "2: llm_providers[0].access_key: environment variable NOT_SET is not set",
        ),
        (
            "llm_providers: [{model: groq/a, access_key: $EMPTY}]",
            "2: llm_providers[0].access_key: must not be empty",
        ),
        (
            "llm_providers: [{model: groq/a, access_key: '${TEAM_KEY'}]",
            "2: llm_providers[0].access_key: ${ must be followed by a name and }",
        ),
        (
            "listeners: [{client_keys: []}]",
            "2: listeners[0].client_keys: must name at least one key",
        ),
        (
            "listeners: [{client_keys: [{name: a, key: $TEAM_KEY}, {name: b, key: $TEAM_KEY}]}]",
            "2: listeners[0].client_keys[1]: the same key is listed above",
        ),
        (
            "listeners: [{client_keys: [{name: a, key: $TEAM_KEY, scope: 'a b'}]}]",
            "2: listeners[0].client_keys[0].scope: may hold visible ASCII only, and no comma",
        ),
    ]);
}

#[test]
fn a_missing_client_key_is_an_error_also_with_an_upstream_override() {
    let text = format!("{MODEL}listeners: [{{client_keys: [{{name: a, key: $NOT_SET}}]}}]\n");
    let error = Config::parse(&text, "f", &env, Mode::UpstreamOverride).unwrap_err().to_string();
    let expected = "environment variable NOT_SET is not set";
    assert_eq!(error, format!("f:2: listeners[0].client_keys[0].key: {expected}"));
}

#[test]
fn all_errors_of_a_file_come_at_once_and_in_order() {
    let found = errors(
        "routing:
  session_ttl_seconds: 0
  relase: ttl
model_providers:
  - model: openai/gpt-4o
    access_key: $NOT_SET
",
    );
    assert_eq!(
        found,
        [
            "config.yaml:2: routing.session_ttl_seconds: must be a whole number of seconds, 1 to 315360000",
            "config.yaml:3: routing.relase: unknown key, did you mean release?",
            "config.yaml:6: model_providers[0].access_key: environment variable NOT_SET is not set",
        ]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_one_clear_line() {
    let dir = tempfile::tempdir().unwrap();
    let load = |name: &str, bytes: Option<&[u8]>| {
        let path = dir.path().join(name);
        if let Some(bytes) = bytes {
            std::fs::write(&path, bytes).unwrap();
        }
        let error = Config::load(&path, Mode::Full).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error.strip_prefix(&*path.to_string_lossy()).unwrap().to_owned()
    };
    assert!(load("missing", None).starts_with(": cannot be read: No such file"));
    assert_eq!(load("", None), ": is a directory, not a file");
    assert_eq!(load("empty", Some(b"")), ": the file is empty");
    assert_eq!(load("latin1", Some(b"a: 1\nb: \xe9\n")), ":2: is not UTF-8");
    let long = vec![b'#'; 2 * 1024 * 1024];
    assert_eq!(load("long", Some(&long)), ": is larger than 1048576 bytes");
    for text in ["- 1\n", "word\n", "12\n"] {
        let error = load("other", Some(text.as_bytes()));
        assert_eq!(error, ": the file must be a mapping (key: value)");
    }
}
