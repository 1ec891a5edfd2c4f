//! Configurations that cannot be served: exit code 2, one line for each fault, no panic.

use affinity_tests::{Output, Setup, run};

async fn serve(yaml: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, yaml).unwrap();
    run(&["serve", "--listen", "127.0.0.1:0", "--config", file.to_str().unwrap()], &[]).await
}

fn with(line: &str) -> String {
    Setup::new("http://127.0.0.1:9").line(line).yaml()
}

fn with_routing(line: &str) -> String {
    Setup::new("http://127.0.0.1:9").routing(line).yaml()
}

#[tokio::test]
async fn each_names_the_place_and_what_is_allowed() {
    let cache = |text: &str| with_routing(&format!("session_cache: {{type: redis, {text}}}"));
    let model = "model_providers: [{model: openai/gpt-4o, access_key: k";
    let bomb = (1..9).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| {
        let alias = format!("*a{}", i - 1);
        format!("{text}a{i}: &a{i} [{}]\n", [alias.as_str(); 10].join(", "))
    });
    for (yaml, said) in [
        (String::new(), "the file is empty"),
        (bomb, "not valid YAML"),
        (with_routing("session_ttl_second: 5"), "did you mean session_ttl_seconds?"),
        (with_routing("session_ttl_seconds: 0"), "1 to 315360000"),
        (with_routing("session_ttl_seconds: -1"), "1 to 315360000"),
        (with_routing("session_ttl_seconds: 1e20"), "1 to 315360000"),
        (with_routing("session_ttl_seconds: 10 minutes"), "1 to 315360000"),
        (with_routing("session_max_entries: 0"), "1 to 10000000"),
        (with_routing("session_max_entries: 10000001"), "1 to 10000000"),
        (cache(""), "url is missing"),
        (cache("url: 'http://u:hush@h'"), "must start with redis://"),
        (cache("url: 'redis://user:hu@sh@h'"), "%40"),
        (cache("url: 'redis://u:hush@h:99999'"), "port from 1 to 65535"),
        (with_routing("session_cache: {tenant_header: 'x tenant'}"), "is not a header name"),
        (with_routing("session_cache: {tenant_header: 'x:tenant'}"), "is not a header name"),
        (with_routing("session_cache: {tenant_header: X-Session-Id}"), "names the session already"),
        ("model_providers: []\n".to_owned(), "at least one model"),
        (format!("{model}}}, {{model: openai/gpt-4o}}]\n"), "declared already"),
        (format!("{model}, base_url: 'localhost:1'}}]\n"), "must start with http"),
        (format!("{model}, base_url: 'file:///etc/passwd'}}]\n"), "must start with http"),
        (format!("{model}, base_url: 'http://u:hush@h'}}]\n"), "must not hold credentials"),
        (format!("{model}, base_url: 'http://127.0.0.1:12000'}}]\n"), "leads back to a listener"),
        (with_routing("router: {type: llm, url: 'http://localhost:12000'}"), "leads back"),
        (with("limits: {body_bytes: 0}"), "1024 to 1073741824"),
        (with("limits: {idle_timeout: 5}"), "did you mean idle_timeout_ms?"),
    ] {
        let output = serve(yaml.as_bytes()).await;
        assert_eq!(output.code, Some(2), "{said}: {output:?}");
        let line = output.err.lines().find(|line| line.contains(said));
        assert!(line.is_some_and(|line| line.contains("config.yaml:")), "{said}: {}", output.err);
        assert!(!output.err.contains("hush") && !output.err.contains("panicked"), "{}", output.err);
    }
    let latin = serve(b"a: 1\nb: \xe9\n").await;
    assert_eq!(latin.code, Some(2));
    assert!(latin.err.contains("config.yaml:2: is not UTF-8"), "{}", latin.err);
}

#[tokio::test]
async fn an_upper_case_tenant_header_is_the_lower_case_one() {
    let setup = Setup::new("http://127.0.0.1:9");
    let setup = setup.routing("session_cache: {tenant_header: X-Tenant-ID}");
    let gateway = setup.start().await;
    let answer = gateway.ask(&crate::turn().session("s")).await;
    assert_eq!(answer.refusal(), crate::is(400, "missing_scope"));
}
