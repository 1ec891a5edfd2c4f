use std::cell::LazyCell;
use std::time::Duration;

use serde_json::Value;

use crate::stack::{ANSWER, Stack};

const BEFORE: &[u8] =
    br#"{"messages":[{"role":"user","content":"solve these equations"}],"routing_preferences":"#;

thread_local! {
    static STACK: LazyCell<Stack> = const { LazyCell::new(Stack::new) };
}

/// Routing preferences in a body, as the decision API takes them: they are refused as JSON or as preferences,
/// or decide between the models that are served, and never between others.
pub fn preferences(data: &[u8]) {
    let body = [BEFORE, data, b"}"].concat();
    let head = format!(
        "POST /routing/v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nx-tenant: t\r\n\
         connection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let asked = [head.as_bytes(), &body].concat();
    let answer = STACK.with(|stack| stack.exchange(&asked, ANSWER, Duration::from_secs(10)));
    let mut fields = [httparse::EMPTY_HEADER; 50];
    let mut head = httparse::Response::new(&mut fields);
    let parsed = head.parse(&answer);
    let Ok(httparse::Status::Complete(length)) = parsed else { panic!("{parsed:?}: {answer:?}") };
    let told: Value = serde_json::from_slice(&answer[length..]).expect("an answer in JSON");
    match head.code {
        Some(200) => {
            let served = ["a/chat", "b/any", "c/messages"];
            let models = told["models"].as_array().expect("models");
            let is_served = |model: &Value| model.as_str().is_some_and(|m| served.contains(&m));
            assert!(!models.is_empty() && models.iter().all(is_served), "{told}");
            let value: Value = serde_json::from_slice(&body).expect("what is decided is JSON");
            let preferences = &value["routing_preferences"];
            assert!(preferences.is_array() || preferences.is_null(), "{preferences}");
        }
        Some(400) => {
            let code = told["error"]["code"].as_str().unwrap_or_default();
            let codes = [
                "ambiguous_key",
                "duplicate_key",
                "invalid_json",
                "invalid_routing_preferences",
                "invalid_value",
                "missing_model",
                "model_not_found",
            ];
            assert!(codes.contains(&code), "{told}");
        }
        // `data` may close the list and go on with a model.
        Some(404) => assert_eq!(told["error"]["code"], "model_not_found"),
        status => panic!("{status:?}: {told}"),
    }
}
