use std::cell::LazyCell;

use crate::stack::{ANSWER, SHORT, Stack};

/// Between what the client and what the provider sends.
const THEN: &[u8] = b"\n=====\n";

thread_local! {
    static STACK: LazyCell<Stack> = const { LazyCell::new(Stack::new) };
}

/// The whole gateway over sockets: whatever the client sends and the provider answers, what comes back
/// is an answer of HTTP, and what it says in our names is said by us.
pub fn gateway(data: &[u8]) {
    let cut = data.windows(THEN.len()).position(|window| window == THEN);
    let (client, provider) = match cut {
        Some(cut) => (&data[..cut], &data[cut + THEN.len()..]),
        None => (data, ANSWER),
    };
    let answer = STACK.with(|stack| stack.exchange(client, provider, SHORT));
    if !answer.is_empty() && !client.starts_with(b"PRI * HTTP/2") {
        check(&answer);
    }
}

fn check(answer: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; 200];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(answer);
    assert!(matches!(parsed, Ok(httparse::Status::Complete(_))), "{parsed:?}: {answer:?}");
    let status = head.code.unwrap_or_default();
    assert!((100..600).contains(&status), "status {status}");
    let values = |name: &str| {
        let named = head.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        let values: Vec<_> = named.map(|field| String::from_utf8_lossy(field.value)).collect();
        assert!(values.len() <= 1, "{name}: {values:?}");
        values.first().map(ToString::to_string)
    };
    let known = |name: &str, known: &[&str]| {
        let value = values(name);
        assert!(value.as_deref().is_none_or(|value| known.contains(&value)), "{name}: {value:?}");
    };
    known("x-plano-pinned", &["true", "false"]);
    known("x-plano-model", &["a/chat", "b/any", "c/messages"]);
    // A body may bring routes of its own.
    values("x-plano-route");
    let outcomes = [
        "hit",
        "claimed",
        "joined",
        "none",
        "bypass",
        "refreshed",
        "repinned",
        "failed",
        "bound",
        "store-unavailable",
        "router-unavailable",
    ];
    known("x-plano-affinity", &outcomes);
    let epoch = values("x-plano-epoch");
    assert!(epoch.is_none_or(|epoch| epoch.parse::<u64>().is_ok()));
}
