//! Where traces go.

use super::*;

fn endpoint(config: &Config) -> Option<String> {
    config.tracing.endpoint.as_ref().map(|endpoint| endpoint.to_string())
}

#[test]
fn traces_go_where_they_are_asked_for() {
    for (tracing, expected) in [
        ("", None),
        ("tracing: {span_attributes: {static: {a: b}}}", None),
        ("tracing: {random_sampling: 5}", Some("http://localhost:4317/")),
        (
            "tracing: {opentracing_grpc_endpoint: 'http://collector'}",
            Some("http://collector:4317/"),
        ),
        (
            "tracing: {random_sampling: 5, opentracing_grpc_endpoint: 'https://[::1]:1/'}",
            Some("https://[::1]:1/"),
        ),
    ] {
        assert_eq!(endpoint(&with_model(tracing)).as_deref(), expected, "{tracing}");
    }
}

#[test]
fn the_environment_may_name_the_collector() {
    let named = |value: &'static str| {
        let env =
            move |name: &str| (name == "OTEL_TRACING_GRPC_ENDPOINT").then(|| value.to_owned());
        let text = format!("{MODEL}tracing: {{random_sampling: 5}}\n");
        Config::parse(&text, "config.yaml", &env, Mode::UpstreamOverride)
    };
    let config = named("http://jaeger:4317").unwrap();
    assert_eq!(endpoint(&config).as_deref(), Some("http://jaeger:4317/"));
    let refused = named("jaeger:4317").unwrap_err().to_string();
    assert!(refused.contains("OTEL_TRACING_GRPC_ENDPOINT must start with http"), "{refused}");
}

#[test]
fn a_collector_is_an_address_without_a_path() {
    refused(&[
        (
            "tracing: {opentracing_grpc_endpoint: 'localhost:4317'}",
            "2: tracing.opentracing_grpc_endpoint: must start with http:// or https://",
        ),
        (
            "tracing: {opentracing_grpc_endpoint: 'http://h:4318/v1/traces'}",
            "2: tracing.opentracing_grpc_endpoint: must not have a path",
        ),
    ]);
}
