use std::slice::from_ref;

use serde_json::{Value, json};

use super::*;
use crate::body::Fault;

fn sent(body: &str, model: &str) -> String {
    let body = JsonBody::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
    String::from_utf8(body.for_model(model).to_bytes().into()).unwrap()
}

#[test]
fn only_the_model_changes() {
    for (body, expected) in [
        (r#"{"model":"a"}"#, r#"{"model":"x/\"y"}"#),
        (
            " { \"n\" : 1.50, \"model\"\t: \"a\" , \"e\":\"\\u00e9\"}\n",
            " { \"n\" : 1.50, \"model\"\t: \"x/\\\"y\" , \"e\":\"\\u00e9\"}\n",
        ),
        (
            r#"{"model":"a","b":{"model":"inner","Model":1,"mod\u0065l\u0000":2}}"#,
            r#"{"model":"x/\"y","b":{"model":"inner","Model":1,"mod\u0065l\u0000":2}}"#,
        ),
        (r#"{"messages":[{"model":"inner"}]}"#, r#"{"messages":[{"model":"inner"}]}"#),
    ] {
        assert_eq!(sent(body, "x/\"y"), expected);
    }
}

#[test]
fn inline_preferences_are_cut_out_wherever_they_stand() {
    for body in [
        r#"{"routing_preferences":[{"name":"a"}],"model":"m","z":1}"#,
        r#"{"model":"m","routing_preferences" : [ "]}," ] ,"z":1}"#,
        r#"{"model":"m","z":1 , "routing_preferences":null }"#,
        r#"{ "routing_preferences":{}, "model":"m","z":1}"#,
    ] {
        let sent: Value = serde_json::from_str(&sent(body, "n")).unwrap();
        assert_eq!(sent, json!({"model": "n", "z": 1}), "{body}");
    }
    assert_eq!(sent(r#"{ "routing_preferences" : [] }"#, "n"), "{  }");
}

#[test]
fn what_is_read_is_what_serde_reads() {
    let body = r#"{"model":"caf\u00e9","routing_preferences":[1]}"#;
    let envelope = JsonBody::parse(Bytes::from(body)).unwrap();
    assert_eq!(envelope.model().as_deref(), Some("café"));
    assert_eq!(envelope.preferences(), Some(b"[1]".as_slice()));
    let null = JsonBody::parse(Bytes::from(r#"{"routing_preferences": null}"#)).unwrap();
    assert_eq!(null.preferences(), None);
    for body in [r#"{"model":1}"#, r#"{"model":null}"#, r#"{"model":""}"#] {
        let envelope = JsonBody::parse(Bytes::from(body)).unwrap();
        assert!(envelope.has_model() && envelope.model().is_none(), "{body}");
    }
}

#[test]
fn a_job_in_the_background_is_told_by_the_top_level_alone() {
    for (body, expected) in [
        (r#"{"background":true}"#, true),
        (r#"{"input":"x", "background" : true }"#, true),
        (r#"{"background":true,"background":false}"#, true),
        // An escape takes the closer look.
        (r#"{"background":true,"\u0061":1}"#, true),
        (r#"{"b\u0061ckground":false,"a":1}"#, false),
        (r#"{"background":false,"\u0061":1}"#, false),
        (r#"{"background":false}"#, false),
        (r#"{"background":null}"#, false),
        (r#"{"background":"true"}"#, false),
        (r#"{"tools":[{"background":true}]}"#, false),
    ] {
        let parsed = JsonBody::parse(Bytes::from(body));
        match body.contains("b\\u") {
            true => assert_eq!(parsed.unwrap_err(), BodyError::Disguised("background")),
            false => assert_eq!(parsed.unwrap().is_background(), expected, "{body}"),
        }
    }
}

#[test]
fn members_that_may_tell_the_session_are_checked_like_all_others() {
    for body in ["{\"metadata\":\n {\"a\":\"\\ud800\"}}", "{\"store\":1e400}"] {
        let error = JsonBody::parse(Bytes::from(body)).unwrap_err();
        let lines = body.lines().count();
        assert!(matches!(error, BodyError::Syntax { line, .. } if line == lines), "{error:?}");
    }
    let nested = format!("{{\"metadata\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(JsonBody::parse(Bytes::from(nested)).is_err());
}

#[test]
fn what_is_no_object_is_refused() {
    for body in ["", "{", "{\"a\":1,}", "{'a':1}", "{\"a\":NaN}", "{} {}", "\u{feff}{}"] {
        let error = JsonBody::parse(Bytes::from(body)).unwrap_err();
        assert!(matches!(error, BodyError::Syntax { .. }), "{body}: {error:?}");
    }
    for (body, expected) in [
        ("\u{feff}{}".to_owned(), Fault::ByteOrderMark),
        ("{\"a\":1e400}".to_owned(), Fault::Number),
        (format!("{{\"a\":{}{}}}", "[".repeat(127), "]".repeat(127)), Fault::Nesting),
        ("{\"a\":\"\\ud800\"}".to_owned(), Fault::Json),
    ] {
        let error = JsonBody::parse(Bytes::from(body)).unwrap_err();
        assert!(
            matches!(error, BodyError::Syntax { fault, .. } if fault == expected),
            "{error:?} is not {expected:?}"
        );
    }
    let deepest = format!("{{\"a\":{}{}}}", "[".repeat(126), "]".repeat(126));
    assert!(JsonBody::parse(Bytes::from(deepest)).is_ok());
    for body in ["{\"a\":\"\\ud800\"}", "{\"a\":1e400}", "{\"\\ud800\":1}"] {
        let error = JsonBody::parse(Bytes::from(body)).unwrap_err();
        assert!(matches!(error, BodyError::Syntax { .. }), "{body}: {error:?}");
    }
    // Found by fuzzing: numbers that nobody can read, in the members that are lent as they stand.
    for body in [
        r#"{"model" : 5E55555 }"#,
        r#"{"routing_preferences":[-1e999]}"#,
        r#"{"metadata":687e7049,"metadata":687e70}"#,
    ] {
        let error = JsonBody::parse(Bytes::from(body)).unwrap_err();
        assert!(matches!(error, BodyError::Syntax { line: 1, .. }), "{body}: {error:?}");
    }
    let broken = Bytes::from_static(b"{\"a\":\"\xff\"}");
    assert_eq!(JsonBody::parse(broken).unwrap_err(), BodyError::Utf8);
    for body in ["[]", "\"x\"", "null", "1", "true"] {
        assert_eq!(JsonBody::parse(Bytes::from(body)).unwrap_err(), BodyError::Type, "{body}");
    }
    for (member, name) in [
        ("\"max_tokens\":1e400", "max_tokens"),
        ("\"max_tokens\":-0", "max_tokens"),
        ("\"max_completion_tokens\":18446744073709551616", "max_completion_tokens"),
        ("\"max_output_tokens\":\"7\"", "max_output_tokens"),
        ("\"stream\":\"yes\"", "stream"),
        ("\"stream\":1", "stream"),
        ("\"messages\":{}", "messages"),
    ] {
        let body = Bytes::from(format!("{{\"model\":\"m\",{member}}}"));
        assert_eq!(JsonBody::parse(body).unwrap_err(), BodyError::Value(name), "{member}");
    }
    for number in ["-1", "4096.0", "1e3", "-0.5", "18446744073709551615", "0.0"] {
        let body = format!("{{\"max_tokens\":{number},\"max_completion_tokens\":{number}}}");
        assert!(JsonBody::parse(Bytes::from(body)).is_ok(), "{number}");
    }
    for number in ["-0", "-0.0", "1e400", "-1e400", "18446744073709551616", "true", "\"7\""] {
        let body = Bytes::from(format!("{{\"max_tokens\":{number}}}"));
        assert_eq!(JsonBody::parse(body).unwrap_err(), BodyError::Value("max_tokens"));
    }
    let usual = r#"{"max_tokens":0,"max_output_tokens":null,"stream":null,"messages":[]}"#;
    assert!(JsonBody::parse(Bytes::from(usual)).is_ok());
    for (key, name) in [
        ("Model", "model"),
        ("mod\\u0065l", "model"),
        ("model\\u0000x", "model"),
        ("ſtream", "stream"),
        ("Max_Tokens", "max_tokens"),
        ("ROUTING_PREFERENCES", "routing_preferences"),
        ("conver\\u017fation", "conversation"),
    ] {
        for body in [
            format!(r#"{{"{key}":1}}"#),
            format!(r#"{{"model":"m","{key}":"m"}}"#),
            format!(r#"{{"stream":1,"{key}":{{}},"z":1}}"#),
        ] {
            let error = JsonBody::parse(Bytes::from(body.clone())).unwrap_err();
            let is_twice = body.contains("\"model\"") && key.contains("mod\\u0065l");
            let twice = BodyError::Duplicate("model");
            let expected = if is_twice { twice } else { BodyError::Disguised(name) };
            assert_eq!(error, expected, "{body}");
        }
    }
    let twice = Bytes::from(r#"{"model":"a","model":"b"}"#);
    assert_eq!(JsonBody::parse(twice).unwrap_err(), BodyError::Duplicate("model"));
}

#[test]
fn a_cache_key_is_put_first_and_never_over_another() {
    let stamped = |body: &str| {
        let body = JsonBody::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        body.with_prompt_cache_key("k\"").map(|sent| sent.to_bytes())
    };
    for (body, expected) in [
        ("{}", r#"{"prompt_cache_key":"k\""}"#),
        ("\n{ }", "\n{\"prompt_cache_key\":\"k\\\"\" }"),
        (
            r#"{"a":{"prompt_cache_key":1}}"#,
            r#"{"prompt_cache_key":"k\"","a":{"prompt_cache_key":1}}"#,
        ),
    ] {
        assert_eq!(stamped(body).unwrap(), expected);
    }
    for body in [r#"{"a":1,"prompt_cache_key":"mine"}"#, r#"{"prompt_cache_key":null}"#] {
        assert_eq!(stamped(body), None, "{body}");
    }
}

#[test]
fn a_key_is_put_in_behind_the_model_and_no_other_byte_changes() {
    let keyed = |body: &str| {
        let body = JsonBody::parse(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        String::from_utf8(body.keyed("k").for_model("m").to_bytes().into()).unwrap()
    };
    for (body, expected) in [
        (r#"{"model":"a"}"#, r#"{"model":"m","prompt_cache_key":"k"}"#),
        (
            " {\"n\" : 1.50,\n\"model\" : \"a\" , \"z\":[ ]}\n",
            " {\"n\" : 1.50,\n\"model\" : \"m\",\"prompt_cache_key\":\"k\" , \"z\":[ ]}\n",
        ),
        (r#"{"model":"a","routing_preferences":[]}"#, r#"{"model":"m","prompt_cache_key":"k"}"#),
        (
            r#"{"routing_preferences":[],"model":"a","x":{"prompt_cache_key":1}}"#,
            r#"{"model":"m","prompt_cache_key":"k","x":{"prompt_cache_key":1}}"#,
        ),
        (r#"{"prompt_cache_key":"own","model":"a"}"#, r#"{"prompt_cache_key":"own","model":"m"}"#),
        (r#"{"model":"a","prompt_cache_key":null}"#, r#"{"model":"m","prompt_cache_key":null}"#),
        (r#"{"messages":[]}"#, r#"{"messages":[]}"#),
    ] {
        assert_eq!(keyed(body), expected);
    }
    let body = JsonBody::parse(Bytes::from(r#"{"a":1,"model":"a"}"#)).unwrap();
    let sent = body.keyed("k\"").for_model_without("m", from_ref(&(1..7))).to_bytes();
    assert_eq!(sent, r#"{"model":"m","prompt_cache_key":"k\""}"#);
}

#[test]
fn cuts_that_do_not_fit_are_passed_over() {
    let body = JsonBody::parse(Bytes::from(r#"{"a":1,"model":"m","b":2}"#)).unwrap();
    let sent = |cuts: &[Range<usize>]| body.for_model_without("n", cuts).to_bytes();
    assert_eq!(sent(&[18..24, 18..24]), r#"{"a":1,"model":"n"}"#);
    assert_eq!(sent(&[1..7, 3..9, 18..24, 24..99]), r#"{"model":"n"}"#);
    let backwards = Range { start: 7, end: 1 };
    assert_eq!(sent(&[backwards, 99..100]), r#"{"a":1,"model":"n","b":2}"#);
}

#[test]
fn the_slices_know_their_length() {
    let body = Bytes::from(r#"{"a":1,"model":"m","b":2}"#);
    let slices = JsonBody::parse(body).unwrap().for_model("longer");
    let exact = http_body::Body::size_hint(&slices).exact().unwrap();
    assert_eq!(exact, slices.to_bytes().len() as u64);
}
