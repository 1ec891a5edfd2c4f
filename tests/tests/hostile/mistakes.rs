//! Mistakes that a new operator makes: each is one line that names the place and says what to write, the same
//! from `check` and from `serve`.

use std::net::TcpListener;

use affinity_tests::run;

/// A file that is right, with the line that each mistake changes.
const RIGHT: &str = "\
version: v0.4.0
listeners:
  - type: model
    name: l
    port: 12000
model_providers:
  - model: openai/gpt-4o
    access_key: $KEY
    default: true
routing_preferences:
  - name: code
    description: writing code
    models: [openai/gpt-4o]
model_aliases:
  fast:
    target: openai/gpt-4o
routing:
  session_ttl_seconds: 600
  session_cache:
    type: redis
    url: redis://127.0.0.1:9
";

const VARIABLES: [(&str, &str); 4] =
    [("KEY", "k"), ("QUOTED", "\"sk-hush\""), ("LINES", "sk-hush\nsk-hush"), ("EMPTY", "")];

/// What is written in place of what, and the line that is said of it.
const MISTAKES: [(&str, &str, &str); 48] = [
    // Form.
    (
        "    name: l\n",
        "     name: l\n",
        "4: not valid YAML: mapping values are not allowed in this context: the indentation is wrong, or a text that holds ': ' needs quotes",
    ),
    (
        "    access_key: $KEY\n",
        "   access_key: $KEY\n",
        "8: not valid YAML: while parsing a block collection, did not find expected '-' indicator: the indentation of this line or the one above is wrong",
    ),
    (
        "  - type: model\n",
        "\t- type: model\n",
        "3: not valid YAML: tabs disallowed within this context (block indentation): indent with spaces",
    ),
    (
        "    port: 12000\n",
        "\tport: 12000\n",
        "4: not valid YAML: while scanning a plain scalar, found a tab: indent with spaces",
    ),
    (
        "    name: l\n",
        "    name l\n",
        "4: not valid YAML: simple key expected ':': write key: value, with a space behind the colon",
    ),
    (
        "writing code",
        "code: writing it",
        "12: not valid YAML: mapping values are not allowed in this context: the indentation is wrong, or a text that holds ': ' needs quotes",
    ),
    (
        "writing code",
        "@code",
        "12: not valid YAML: unexpected character: `@': a text that begins with it needs quotes",
    ),
    (
        "$KEY",
        "*k",
        "8: not valid YAML: alias references unknown anchor: a text that begins with * needs quotes",
    ),
    (
        "[openai/gpt-4o]",
        "[openai/gpt-4o",
        "14: not valid YAML: illegal placement of ':' indicator: a bracket or quote above is not closed",
    ),
    (
        "routing:\n",
        "  fast:\n    target: openai/gpt-4o\nrouting:\n",
        "17: not valid YAML: duplicate mapping key: fast",
    ),
    (
        "routing:\n",
        "---\nrouting:\n",
        "18: not valid YAML: a second document begins; remove the line ---",
    ),
    // Keys in the wrong place or with another name.
    (
        "    default: true\n",
        "    default: true\n    session_ttl_seconds: 5\n",
        "10: model_providers[0].session_ttl_seconds: unknown key here; it belongs to routing",
    ),
    (
        "version: v0.4.0\n",
        "session_ttl_seconds: 5\n",
        "1: session_ttl_seconds: unknown key here; it belongs to routing",
    ),
    (
        "    type: redis\n",
        "    type: redis\n    body_bytes: 2048\n",
        "21: routing.session_cache.body_bytes: unknown key here; it belongs to limits",
    ),
    (
        "access_key",
        "api_key",
        "8: model_providers[0].api_key: unknown key, did you mean access_key?",
    ),
    (
        "access_key",
        "accessKey",
        "8: model_providers[0].accessKey: unknown key, did you mean access_key?",
    ),
    ("model_providers:", "models:", "6: models: unknown key, did you mean model_providers?"),
    (
        "model_providers:",
        "model_provider:",
        "6: model_provider: unknown key, did you mean model_providers?",
    ),
    (
        "  - type: model\n    name: l\n    port: 12000\n",
        "  type: model\n  name: l\n  port: 12000\n",
        "2: listeners: must be a list: write - before the first key of each listener",
    ),
    ("v0.4.0", "0.4", "1: version: must be one of: v0.1, v0.1.0, 0.1-beta, v0.2.0, v0.3.0, v0.4.0"),
    // Models.
    (
        "model: openai/gpt-4o\n",
        "model: gpt-4o\n",
        "7: model_providers[0].model: must be provider/id, for example openai/gpt-4o",
    ),
    (
        "    default: true\n",
        "    default: true\n  - model: openai/gpt-4o\n",
        "10: model_providers[1]: this model is declared already in line 7",
    ),
    (
        "    default: true\n",
        "    default: yes\n",
        "9: model_providers[0].default: must be true or false",
    ),
    (
        "    default: true\n",
        "    default: \"true\"\n",
        "9: model_providers[0].default: must be true or false, without quotes",
    ),
    (
        "target: openai/gpt-4o",
        "target: openai/gpt-4",
        "16: model_aliases.fast.target: the model is not declared in model_providers, did you mean openai/gpt-4o?",
    ),
    (
        "  fast:\n    target: openai/gpt-4o",
        "  fast: openai/gpt-4o",
        "15: model_aliases.fast: must be a mapping: write {target: MODEL}",
    ),
    ("[openai/gpt-4o]", "[]", "11: routing_preferences[0]: models must name at least one model"),
    ("[openai/gpt-4o]", "openai/gpt-4o", "13: routing_preferences[0].models: must be a list"),
    (
        "[openai/gpt-4o]",
        "[gpt-5]",
        "13: routing_preferences[0].models[0]: the model is not declared in model_providers",
    ),
    // Keys of providers.
    (
        "$KEY",
        "$NOT_SET",
        "8: model_providers[0].access_key: environment variable NOT_SET is not set",
    ),
    ("$KEY", "$EMPTY", "8: model_providers[0].access_key: must not be empty"),
    (
        "$KEY",
        "$QUOTED",
        "8: model_providers[0].access_key: begins with a quote, which would be sent: leave out the quotes within the value",
    ),
    (
        "$KEY",
        "$LINES",
        "8: model_providers[0].access_key: holds a character that a header cannot hold, such as a line break",
    ),
    (
        "$KEY",
        "Bearer sk-hush",
        "8: model_providers[0].access_key: begins with Bearer, which the gateway adds: write the key alone",
    ),
    (
        "$KEY",
        "{file: /no/such/key}",
        "8: model_providers[0].access_key.file: cannot be read: No such file or directory (os error 2)",
    ),
    // Addresses.
    ("port: 12000", "port: 70000", "5: listeners[0].port: must be a whole number, 1 to 65535"),
    (
        "port: 12000",
        "port: \"12000\"",
        "5: listeners[0].port: must be a whole number, 1 to 65535, without quotes",
    ),
    (
        "port: 12000\n",
        "port: 12000\n  - port: 12000\n",
        "6: listeners[1]: port 12000 is taken by a listener above",
    ),
    (
        "    default: true\n",
        "    default: true\n    base_url: api.openai.com/v1\n",
        "10: model_providers[0].base_url: must start with http:// or https://",
    ),
    (
        "    default: true\n",
        "    default: true\n    base_url: https://api.openai.com/v1/chat/completions\n",
        "10: model_providers[0].base_url: must not hold the path of a request: leave out what follows /v1",
    ),
    (
        "redis://127.0.0.1:9",
        "http://127.0.0.1:9",
        "21: routing.session_cache.url: must start with redis://, rediss:// (also -cluster:// or -sentinel://) or unix://",
    ),
    (
        "redis://127.0.0.1:9",
        "127.0.0.1:9",
        "21: routing.session_cache.url: must start with redis://, rediss:// (also -cluster:// or -sentinel://) or unix://",
    ),
    // Numbers and times.
    (
        "600",
        "-600",
        "18: routing.session_ttl_seconds: must be a whole number of seconds, 1 to 315360000",
    ),
    (
        "600",
        "0",
        "18: routing.session_ttl_seconds: must be a whole number of seconds, 1 to 315360000",
    ),
    (
        "600",
        "99999999999999999999999999999999999999999",
        "18: routing.session_ttl_seconds: must be a whole number of seconds, 1 to 315360000",
    ),
    (
        "600",
        "10m",
        "18: routing.session_ttl_seconds: must be a whole number of seconds, 1 to 315360000",
    ),
    (
        "600",
        "\"600\"",
        "18: routing.session_ttl_seconds: must be a whole number of seconds, 1 to 315360000, without quotes",
    ),
    (
        "routing:\n",
        "limits: {body_bytes: 32MB}\nrouting:\n",
        "17: limits.body_bytes: must be a whole number of bytes, 1024 to 1073741824",
    ),
];

/// What both commands say of a file, which they must refuse.
async fn refused(folder: &std::path::Path, yaml: &str) -> String {
    let file = folder.join("config.yaml");
    std::fs::write(&file, yaml).unwrap();
    let file = file.to_str().unwrap();
    let check = run(&["check", file], &VARIABLES).await;
    let serve = run(&["serve", "--config", file], &VARIABLES).await;
    assert_eq!((check.code, serve.code), (Some(1), Some(2)), "{yaml}\n{check:?}\n{serve:?}");
    assert_eq!(check.err, serve.err, "{yaml}");
    assert!(!check.err.contains("hush"), "{}", check.err);
    check.err.replace(&format!("{file}:"), "").trim_end().to_owned()
}

#[tokio::test]
async fn a_mistake_is_one_line_that_says_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    for (right, wrong, said) in MISTAKES {
        assert!(RIGHT.contains(right), "{right}");
        let told = refused(folder.path(), &RIGHT.replacen(right, wrong, 1)).await;
        assert_eq!(told, said, "{wrong}");
    }
    for (text, said) in [
        ("", "the file is empty"),
        ("# nothing yet\n", "the file is empty"),
        ("- a\n", "the file must be a mapping (key: value)"),
        ("{\"version\": \"v0.4.0\"", "1: not valid YAML: unclosed bracket '{'"),
    ] {
        assert_eq!(refused(folder.path(), text).await.trim(), said, "{text}");
    }
}

#[tokio::test]
async fn a_certificate_and_a_key_that_do_not_fit_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["a", "b"] {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(path(&format!("{name}.cert")), made.cert.pem()).unwrap();
        std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    }
    for (cert, key, said) in [
        ("a.cert", "b.key", "6: listeners[0].tls: the key is not that of the certificate"),
        ("a.key", "a.cert", "6: listeners[0].tls: cert names the key, and key the certificate"),
    ] {
        let tls = format!("tls: {{cert: {}, key: {}}}", path(cert), path(key));
        let yaml = RIGHT.replace("    port: 12000\n", &format!("    port: 12000\n    {tls}\n"));
        assert_eq!(refused(folder.path(), &yaml).await, said);
    }
}

/// What works is no mistake: JSON is YAML, and so are anchors.
#[tokio::test]
async fn json_and_anchors_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config");
    let anchors = RIGHT.replace("$KEY\n", "&k $KEY\n  - {model: openai/b, access_key: *k}\n");
    let json =
        r#"{"version":"v0.4.0","model_providers":[{"model":"openai/a","access_key":"$KEY"}]}"#;
    let windows = RIGHT.replace('\n', "\r\n");
    for text in [json.to_owned(), anchors.replace("    default: true\n", ""), windows] {
        std::fs::write(&file, &text).unwrap();
        let output = run(&["check", file.to_str().unwrap()], &VARIABLES).await;
        assert_eq!(output.code, Some(0), "{text}\n{output:?}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_by_both_commands() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, RIGHT.replace("12000", &address.port().to_string())).unwrap();
    let file = file.to_str().unwrap();
    // The gateway that is to be replaced may be the one that listens.
    let check = run(&["check", file], &VARIABLES).await;
    assert_eq!(check.code, Some(0), "{check:?}");
    assert!(check.err.contains(&format!("listener l: {address} is in use")), "{}", check.err);
    let serve = run(&["serve", "--config", file], &VARIABLES).await;
    assert_eq!(serve.code, Some(1), "{serve:?}");
    assert!(serve.err.contains(&format!("cannot listen on {address}: Address")), "{}", serve.err);
}
