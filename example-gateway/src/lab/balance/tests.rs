use std::net::{Ipv4Addr, SocketAddr};

use axum::body::Bytes;
use axum::routing::{get, post};
use http::Request;
use http_body_util::BodyExt;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tower::ServiceExt;

use super::*;

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn over(replicas: &[SocketAddr]) -> Balancer {
    Balancer::new(replicas.iter().map(|address| address.to_string().parse().unwrap()))
}

async fn text(response: Response<Body>) -> String {
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

fn get_request(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn requests_go_to_the_replicas_in_turn_and_answers_say_from_which_they_are() {
    let named = |name: &'static str| {
        Router::new().route(
            "/who",
            get(async move |uri: Uri, headers: http::HeaderMap| {
                let host = headers[header::HOST].to_str().unwrap().to_owned();
                ([(REPLICA, "99")], format!("{name} {uri} {host}"))
            }),
        )
    };
    let (one, two) = (serve(named("one")).await, serve(named("two")).await);
    let balancer = over(&[one, two]);
    for (name, address, number) in [("one", one, "1"), ("two", two, "2"), ("one", one, "1")] {
        let response = balancer.router().oneshot(get_request("/who?x=1")).await.unwrap();
        assert_eq!(response.headers()[REPLICA], number, "a replica's own word does not count");
        assert_eq!(text(response).await, format!("{name} /who?x=1 {address}"));
    }
    assert_eq!(balancer.answers(), [2, 1]);
}

#[tokio::test]
async fn bodies_are_streamed_in_both_directions() {
    // Each piece is sent only once the one before it has come back, so that a balancer that holds
    // a body until its end would never answer.
    let echo = Router::new().route("/", post(async |request: Request<Body>| request.into_body()));
    let balancer = over(&[serve(echo).await]);
    let (sender, pieces) = mpsc::channel::<Bytes>(1);
    let body = ReceiverStream::new(pieces).map(Ok::<_, std::convert::Infallible>);
    let request = Request::post("/").body(Body::from_stream(body)).unwrap();
    let response = balancer.router().oneshot(request).await.unwrap();
    let mut back = response.into_body().into_data_stream();
    for piece in ["one", "two", "three"] {
        sender.send(Bytes::from_static(piece.as_bytes())).await.unwrap();
        assert_eq!(back.next().await.unwrap().unwrap(), piece);
    }
    drop(sender);
    assert!(back.next().await.is_none());
}

#[tokio::test]
async fn a_replica_that_is_down_is_named_and_the_others_go_on_answering() {
    let up = serve(Router::new().route("/", get(|| async { "up" }))).await;
    // The socket is held and never listens, so that nobody else can take the port.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let balancer = over(&[up, socket.local_addr().unwrap()]);
    for (status, expected) in [(200, "up"), (502, "replica 2 cannot be reached"), (200, "up")] {
        let response = balancer.router().oneshot(get_request("/")).await.unwrap();
        assert_eq!(response.status(), status);
        let text = text(response).await;
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(balancer.answers(), [2, 0]);
}
