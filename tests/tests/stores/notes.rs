//! Notes that replicas leave for each other, and the limits within which they are written.

use affinity_layer::StoreErrorKind;
use affinity_tests::redis::RedisServer;

use crate::support::{PREFIX, options, redis};

const BOARD: &str = "drains";
/// The most notes, and the longest field and text in bytes, as the documents name them.
const NOTES: usize = 1024;
const FIELD: usize = 256;
const TEXT: usize = 1024;

#[tokio::test]
async fn a_note_that_would_not_be_read_is_not_written() {
    let server = RedisServer::start().await;
    let store = Box::pin(redis(&options(&server.url()))).await;
    let (field, text) = ("f".repeat(FIELD), "t".repeat(TEXT));
    store.note(BOARD, &field, &text).await.unwrap();
    let fits = vec![(field.clone(), text.clone())];
    assert_eq!(store.notes(BOARD).await.unwrap(), fits);
    for (field, text) in [(format!("{field}f"), "t".to_owned()), (field, format!("{text}t"))] {
        let error = store.note(BOARD, &field, &text).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Refused, "{error}");
        assert_eq!(store.notes(BOARD).await.unwrap(), fits, "the one that fits stays as it was");
    }
}

#[tokio::test]
async fn one_note_more_than_are_read_is_refused_and_hides_none() {
    let server = RedisServer::start().await;
    let store = Box::pin(redis(&options(&server.url()))).await;
    let name = format!("{PREFIX}%{BOARD}");
    let fields: Vec<String> = (0..NOTES).map(|n| format!("field-{n}")).collect();
    let mut filled = vec!["HSET", &name];
    filled.extend(fields.iter().flat_map(|field| [field.as_str(), "{}"]));
    server.run(&filled).await;
    assert_eq!(store.notes(BOARD).await.unwrap().len(), NOTES);

    assert!(store.note(BOARD, "one-more", "{}").await.is_err());
    let notes = store.notes(BOARD).await.unwrap();
    assert_eq!(notes.len(), NOTES, "all of them are still read");
    assert!(notes.iter().all(|(field, _)| field != "one-more"));

    store.note(BOARD, "field-7", "replaced").await.unwrap();
    let notes = store.notes(BOARD).await.unwrap();
    assert!(notes.contains(&("field-7".to_owned(), "replaced".to_owned())));

    assert!(store.remove_note(BOARD, "field-8").await.unwrap());
    store.note(BOARD, "one-more", "{}").await.unwrap();
    assert_eq!(store.notes(BOARD).await.unwrap().len(), NOTES);
}

/// What another program writes beyond the limits is what the limits are for: without them it would be read.
#[tokio::test]
async fn what_others_write_beyond_the_limits_is_passed_over_or_refused() {
    let server = RedisServer::start().await;
    let store = Box::pin(redis(&options(&server.url()))).await;
    let name = format!("{PREFIX}%{BOARD}");
    let (long_field, long_text) = ("f".repeat(FIELD + 1), "t".repeat(TEXT + 1));
    server.run(&["HSET", &name, &long_field, "{}", "long", &long_text, "short", "{}"]).await;
    let short = vec![("short".to_owned(), "{}".to_owned())];
    assert_eq!(store.notes(BOARD).await.unwrap(), short);
    let fields: Vec<String> = (0..NOTES).map(|n| format!("field-{n}")).collect();
    let mut filled = vec!["HSET", &name];
    filled.extend(fields.iter().flat_map(|field| [field.as_str(), "{}"]));
    server.run(&filled).await;
    assert!(store.notes(BOARD).await.is_err(), "not one of them, rather than some");
}
