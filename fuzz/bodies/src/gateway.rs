use std::cell::LazyCell;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use example_gateway::config::{Config, Mode};
use example_gateway::gateway::{Gateway, Inherited};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;
use tokio_util::sync::CancellationToken;

const CONFIG: &str = "
version: v0.4.0
listeners: [{type: model, name: fuzz, port: 12000}]
model_providers:
  - {model: a/chat, base_url: 'http://PROVIDER', access_key: k, default: true}
  - {model: b/any, base_url: 'http://PROVIDER', access_key: k, input: [text]}
  - {model: c/messages, base_url: 'http://PROVIDER', access_key: k, protocols: [messages]}
routing_preferences:
  - {name: poems, description: writing poems, models: [b/any, a/chat, c/messages]}
  - {name: sums, description: solving equations, models: [a/chat]}
model_aliases: {fast: {target: a/chat}}
routing:
  session_max_entries: 100
  session_cache: {type: memory, tenant_header: x-tenant}
  body_ids: [prompt_cache_key, conversation, metadata.user_id, previous_response_id]
  fingerprint: {secret: 'a secret of thirty-two bytes, at least'}
  release: final_answer
  warm_up_turns: 1
  expose_epoch: true
  model_lanes: true
";

/// Between what the client and what the provider sends.
const THEN: &[u8] = b"\n=====\n";

/// What a provider answers that was given no answer.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 43\r\n\r\n{\"choices\":[{\"finish_reason\":\"tool_calls\"}]}";

/// Turns of the event loop without a byte after which nothing more is awaited.
const STILL: usize = 48;

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
    let answer = STACK.with(|stack| stack.exchange(client, provider));
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

/// A gateway and its provider, on one thread.
struct Stack {
    runtime: Runtime,
    gateway: SocketAddr,
    /// What the provider answers.
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Stack {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let answer = Arc::<Mutex<Vec<u8>>>::default();
        let gateway = runtime.block_on(async {
            // Who writes to a client that is gone gets an error and no signal, as in any program of
            // Rust; one that begins in libFuzzer's `main` has to say so.
            drop(signal(SignalKind::pipe()).unwrap());
            let provider = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let base = provider.local_addr().unwrap().to_string();
            tokio::spawn(provide(provider, answer.clone()));
            let text = CONFIG.replace("PROVIDER", &base);
            let mut config = Config::parse(&text, "fuzz.yaml", &|_| None, Mode::Full).unwrap();
            config.listen_on("127.0.0.1:0".parse().unwrap());
            let gateway = Gateway::bind(config, Inherited::default()).await.unwrap();
            let address = gateway.addresses().unwrap()[0];
            tokio::spawn(gateway.serve(CancellationToken::new(), None));
            address
        });
        Self { runtime, gateway, answer }
    }

    /// What comes back when the client sends this and the provider answers that.
    fn exchange(&self, client: &[u8], provider: &[u8]) -> Vec<u8> {
        self.answer.lock().unwrap().clone_from(&provider.to_vec());
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(self.gateway).await.unwrap();
            // The port is free at once.
            stream.set_zero_linger().unwrap();
            // The gateway may refuse before all is sent.
            let _ = stream.write_all(client).await;
            let answer = received(&stream).await;
            drop(stream);
            for _ in 0..STILL {
                yield_now().await;
            }
            answer
        })
    }
}

/// What arrives until nothing more happens on this thread.
async fn received(stream: &TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut still = 0;
    while still < STILL {
        match stream.try_read_buf(&mut answer) {
            Ok(1..) => still = 0,
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                still += 1;
                yield_now().await;
            }
            Err(_) => break,
        }
    }
    answer
}

/// Answers every connection, whatever it asks.
async fn provide(listener: TcpListener, answer: Arc<Mutex<Vec<u8>>>) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let answer = answer.lock().unwrap().clone();
        tokio::spawn(async move {
            let mut asked = vec![0; 64 * 1024];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            while stream.read(&mut asked).await.is_ok_and(|read| read > 0) {}
        });
    }
}
