//! `routing.stamp_cache_key`: a session names itself to its provider's cache.

use affinity_tests::models::ONE;
use affinity_tests::{Gateway, Request, Setup, Upstream, post};

const STAMP: &str = "stamp_cache_key: true";
const TAKES: &str = "prompt_cache_key: true";

async fn started(setup: impl FnOnce(Setup) -> Setup) -> (Upstream, Gateway) {
    let upstream = Upstream::echo().await;
    let gateway = setup(Setup::new(&upstream.url())).start().await;
    (upstream, gateway)
}

async fn sent(upstream: &Upstream, gateway: &Gateway, request: &Request) -> String {
    let answer = gateway.ask(request).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = upstream.last();
    assert_eq!(seen.all("content-length"), [seen.body.len().to_string()]);
    assert!(seen.complete && !seen.has("transfer-encoding"));
    String::from_utf8(seen.body).unwrap()
}

/// The key in a body that is `template` but for it and the model.
fn key_in(body: &str, template: &str) -> String {
    let (before, after) = template.split_once("\"MODEL\"").unwrap();
    let rest = body.strip_prefix(before).and_then(|rest| rest.strip_prefix("\"gpt-4o\""));
    let rest = rest.and_then(|rest| rest.strip_suffix(after)).unwrap();
    let key = rest.strip_prefix(",\"prompt_cache_key\":\"").and_then(|key| key.strip_suffix('"'));
    key.unwrap_or_else(|| panic!("{rest}")).to_owned()
}

#[tokio::test]
async fn a_session_has_one_key_that_tells_nothing_and_no_other_byte_changes() {
    let (upstream, gateway) = started(|setup| setup.routing(STAMP).provider(TAKES)).await;
    let template = "{\t\"z\" : 1.500e0 ,\r\n \"model\" : \"MODEL\" , \"messages\":[ ],\"input\":[],\
                    \"stream\":false }\n";
    let body = template.replace("MODEL", ONE);
    let key = async |path: &str, session: &str| {
        let request = post(path, &body).session(session);
        key_in(&sent(&upstream, &gateway, &request).await, template)
    };
    let (chat, responses) = ("/v1/chat/completions", "/v1/responses");
    let first = key(chat, "hush-session").await;
    assert_eq!(key(chat, "hush-session").await, first, "the same in each turn");
    assert_eq!(key(responses, "hush-session").await, first, "and in each protocol");
    assert_ne!(key(chat, "hush-other").await, first);
    assert!(first.len() == 32 && first.bytes().all(|byte| byte.is_ascii_hexdigit()), "{first}");
    let seen = upstream.last();
    assert_eq!(seen.all("x-model-affinity"), ["hush-other"], "the header is another matter");
}

#[tokio::test]
async fn a_key_of_the_client_is_never_overwritten_and_without_a_session_there_is_none() {
    let (upstream, gateway) = started(|setup| setup.routing(STAMP).provider(TAKES)).await;
    for own in [r#""mine""#, "null", "7"] {
        let body = format!(r#"{{"prompt_cache_key":{own},"model":"{ONE}","messages":[]}}"#);
        let request = post("/v1/chat/completions", &body).session("s");
        let expected = body.replace(ONE, "gpt-4o");
        assert_eq!(sent(&upstream, &gateway, &request).await, expected);
    }
    let body = format!(r#"{{"model":"{ONE}","messages":[]}}"#);
    let expected = body.replace(ONE, "gpt-4o");
    let alone = post("/v1/chat/completions", &body);
    assert_eq!(sent(&upstream, &gateway, &alone).await, expected, "no session");
    let messages = post("/v1/messages", &body).session("s");
    assert_eq!(sent(&upstream, &gateway, &messages).await, expected, "no such member in Messages");
}

#[tokio::test]
async fn only_a_provider_that_is_known_to_take_a_key_gets_one() {
    let body = format!(r#"{{"model":"{ONE}","messages":[]}}"#);
    let expected = body.replace(ONE, "gpt-4o");
    let request = post("/v1/chat/completions", &body).session("s");
    for (lines, provider) in
        [(None, TAKES), (Some(STAMP), "prompt_cache_key: false"), (Some(STAMP), "input: [text]")]
    {
        let with = |setup: Setup| {
            lines.map_or(setup.clone(), |line| setup.routing(line)).provider(provider)
        };
        let (upstream, gateway) = started(with).await;
        // Its name is that of a vendor that takes keys, and its address is not.
        assert_eq!(sent(&upstream, &gateway, &request).await, expected, "{provider}");
    }
}
