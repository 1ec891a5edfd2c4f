//! Files that must be refused: their form, their keys, and their plain values.

use super::*;

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
        (
            "version: v9.9",
            "2: version: must be one of: v0.1, v0.1.0, 0.1-beta, v0.2.0, v0.3.0, v0.4.0",
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
fn a_file_that_the_file_names_must_be_there() {
    let cache = |file: &str| {
        let redis = format!("type: redis, url: 'rediss://h', ca_file: {file}");
        format!("routing: {{session_cache: {{{redis}}}}}")
    };
    let missing = "2: routing.session_cache.ca_file: cannot be read: \
                   No such file or directory (os error 2)";
    refused(&[(&cache("/no/such/file.pem"), missing)]);
    assert!(read(&format!("{MODEL}{}\n", cache("Cargo.toml"))).is_ok());
}

#[test]
fn a_client_certificate_needs_its_key() {
    let cache = |rest: &str| {
        format!("routing: {{session_cache: {{type: redis, url: 'rediss://h', {rest}}}}}")
    };
    refused(&[
        (&cache("cert_file: Cargo.toml"), "2: routing.session_cache.cert_file: needs key_file too"),
        (&cache("key_file: Cargo.toml"), "2: routing.session_cache.key_file: needs cert_file too"),
    ]);
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
