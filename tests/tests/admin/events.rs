//! The stream of turns, and the page that reads it.

use affinity_tests::{Connection, Piece, Setup, Upstream, get};
use serde_json::Value;

use crate::{Admin, TOKEN, turn, with_admin};

const EVENTS: &str = "/admin/v1/events";

/// A reader of the stream.
struct Reader(Connection);

impl Reader {
    async fn of(admin: &Admin) -> Self {
        let mut connection = Connection::open(admin.0).await;
        connection.write(&get(EVENTS).header("authorization", &format!("Bearer {TOKEN}"))).await;
        let head = connection.head().await;
        assert!(head.line.contains(" 200 "), "{head:?}");
        let kind = head.fields.iter().find(|(name, _)| name == "content-type");
        assert_eq!(kind.map(|(_, kind)| kind.as_str()), Some("text/event-stream"));
        Self(connection)
    }

    /// The next event, each of which is a piece of its own; nothing at the end.
    async fn next(&mut self) -> Option<(String, Value)> {
        let Piece::Data(event) = self.0.piece().await else { return None };
        let text = String::from_utf8(event.to_vec()).unwrap();
        let (name, data) = text.split_once("\ndata: ").unwrap();
        let name = name.strip_prefix("event: ").unwrap().to_owned();
        Some((name, serde_json::from_str(data).unwrap()))
    }
}

#[tokio::test]
async fn a_reader_is_told_of_each_turn_and_of_no_id() {
    let upstream = Upstream::echo().await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    let mut reader = Reader::of(&admin).await;
    let (name, empty) = reader.next().await.unwrap();
    assert_eq!((name.as_str(), &empty["totals"]["turns"]), ("snapshot", &0.into()));

    assert_eq!(gateway.ask(&turn("hush-one")).await.status, 200);
    let (_, news) = reader.next().await.unwrap();
    let first = &news["turns"][0];
    assert_eq!((&first["outcome"], &first["pinned"]), (&"claimed".into(), &false.into()));

    assert_eq!(gateway.ask(&turn("hush-one")).await.status, 200);
    let (name, more) = reader.next().await.unwrap();
    let second = &more["turns"][0];
    assert_eq!((name.as_str(), &second["outcome"]), ("turns", &"hit".into()));
    assert_eq!((&second["session"], &second["number"]), (&first["session"], &2.into()));
    assert_eq!(more["totals"]["router"]["calls_saved"], 1);

    let (_, snapshot) = Reader::of(&admin).await.next().await.unwrap();
    assert_eq!(snapshot["lanes"][0]["turns"], serde_json::json!([first, second]));
    for told in [snapshot, news, more] {
        assert!(!told.to_string().contains("hush"), "{told}");
    }
}

#[tokio::test]
async fn readers_do_not_hold_up_a_stop() {
    let upstream = Upstream::echo().await;
    let mut gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let mut reader = Reader::of(&Admin::of(&gateway).await).await;
    reader.next().await.unwrap();
    gateway.signal("TERM").await;
    assert!(reader.next().await.is_none(), "the stream ends");
    assert!(gateway.ended().await.success());
    assert!(!gateway.log().contains("still running"), "{}", gateway.log());
}

#[tokio::test]
async fn the_page_is_for_all_and_what_it_shows_is_not() {
    let upstream = Upstream::echo().await;
    let gateway = with_admin(Setup::new(&upstream.url())).start().await;
    let admin = Admin::of(&gateway).await;
    let refused = admin.ask_plainly(&get(EVENTS)).await.refusal();
    assert_eq!(refused, (401, "invalid_api_key".to_owned()));
    let page = admin.ask_plainly(&get("/ui")).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none';"));
    assert!(!page.text().contains(TOKEN));
    for path in ["/ui", "/ui/page.js", EVENTS] {
        let asked = get(path).header("authorization", &format!("Bearer {TOKEN}"));
        assert_eq!(gateway.ask(&asked).await.status, 404, "{path} is not for clients");
    }
}
