//! `example-gateway report`, as a user calls it.

use affinity_tests::models::ONE;
use affinity_tests::{Output, Refusing, Setup, Upstream, ok_json, run, until};
use serde_json::{Value, json};

use crate::{Admin, TOKEN, turn, with_admin};

async fn report(url: &str, token: &str, more: &[&str]) -> Output {
    let arguments = [&["report", "--url", url], more].concat();
    run(&arguments, &[("AFFINITY_ADMIN_TOKEN", token)]).await
}

/// The cells of the line that begins with `name`.
fn row<'a>(output: &'a Output, name: &str) -> Vec<&'a str> {
    let line = output.out.lines().find(|line| line.starts_with(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {output:?}"));
    line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect()
}

#[tokio::test]
async fn it_shows_the_ledger_as_it_stands() {
    let usage = json!({
        "prompt_tokens": 1500, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 600}
    });
    let upstream = Upstream::start(move |_| ok_json(&json!({"usage": usage}))).await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    for _ in 0..4 {
        let turn = turn("s")
            .bytes(r#"{"model":"auto","messages":[{"role":"user","content":"writing poems"}]}"#);
        assert_eq!(gateway.ask(&turn).await.affinity().2, ONE);
    }
    until(async || admin.get("/admin/v1/ledger").await["totals"]["turns"] == 4).await;

    let url = format!("http://{}", admin.0);
    let shown = report(&url, TOKEN, &[]).await;
    assert_eq!((shown.code, shown.err.as_str()), (Some(0), ""), "{shown:?}");
    assert_eq!(row(&shown, ONE), [ONE, "4", "3", "0", "6 000", "40 %", "28", "0"]);
    let route = row(&shown, "one");
    assert_eq!((&route[..5], route[7]), (&["one", "4", "3", "1", "3"][..], "-"));
    assert_eq!(shown.out.lines().filter(|line| line.starts_with("total")).count(), 4);
    assert!(shown.out.lines().any(|line| line.starts_with("model") && line.contains("spent $")));

    let raw = report(&format!("{url}/"), TOKEN, &["--json"]).await;
    assert_eq!(raw.code, Some(0), "{raw:?}");
    let raw: Value = serde_json::from_str(&raw.out).unwrap();
    assert_eq!(raw, admin.get("/admin/v1/ledger").await);
}

#[tokio::test]
async fn it_says_why_there_is_none() {
    let (upstream, nobody) = (Upstream::echo().await, Refusing::new());
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let url = format!("http://{}", Admin::of(&gateway).await.0);
    let text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    let (other, list) =
        (Upstream::fixed(text).await, Upstream::start(|_| ok_json(&json!([]))).await);
    for (url, token, told) in [
        (url.as_str(), "hush-wrong", "401"),
        (url.as_str(), "hush\n", "the token"),
        (&gateway.url(), TOKEN, "404"),
        (&nobody.url(), TOKEN, "cannot connect"),
        (&other.url(), TOKEN, "not a ledger"),
        (&list.url(), TOKEN, "not a ledger"),
        ("https://localhost:1", TOKEN, "is not an http URL"),
    ] {
        let output = report(url, token, &[]).await;
        assert_eq!((output.code, output.out.as_str()), (Some(1), ""), "{told}: {output:?}");
        assert!(output.err.contains(told) && !output.err.contains("hush"), "{output:?}");
        assert_eq!(output.err.lines().count(), 1, "{output:?}");
    }
    let without = run(&["report"], &[]).await;
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.err.contains("--token"), "{without:?}");
    let output = report("localhost", TOKEN, &[]).await;
    assert_eq!(output.code, Some(2), "{output:?}");
}
