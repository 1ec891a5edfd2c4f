//! A gateway and its provider, to which any bytes may be sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use example_gateway::config::{Config, Mode};
use example_gateway::gateway::{Gateway, Inherited};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::yield_now;
use tokio::time::timeout;
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

/// What a provider answers that was given no answer.
pub(crate) const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
    content-length: 43\r\n\r\n{\"choices\":[{\"finish_reason\":\"tool_calls\"}]}";

/// How long more of an answer is awaited where it need not come.
pub(crate) const SHORT: Duration = Duration::from_millis(3);

/// Turns of the event loop after which a connection that was closed is forgotten.
const STILL: usize = 48;

/// A gateway and its provider.
pub(crate) struct Stack {
    runtime: Runtime,
    gateway: SocketAddr,
    /// What the provider answers.
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Stack {
    pub(crate) fn new() -> Self {
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

    /// What comes back when the client sends this and the provider answers that, until nothing has come for
    /// as long as `wait`.
    pub(crate) fn exchange(&self, client: &[u8], provider: &[u8], wait: Duration) -> Vec<u8> {
        self.answer.lock().unwrap().clone_from(&provider.to_vec());
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(self.gateway).await.unwrap();
            // The port is free at once.
            stream.set_zero_linger().unwrap();
            // The gateway may refuse before all is sent.
            let _ = stream.write_all(client).await;
            let answer = received(&stream, wait).await;
            drop(stream);
            for _ in 0..STILL {
                yield_now().await;
            }
            answer
        })
    }
}

/// What arrives until the connection ends, or nothing comes for as long as `wait`. The gateway serves on
/// threads of its own: that nothing happens on this one says nothing.
async fn received(stream: &TcpStream, wait: Duration) -> Vec<u8> {
    let mut answer = Vec::new();
    loop {
        match stream.try_read_buf(&mut answer) {
            Ok(1..) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if timeout(wait, stream.readable()).await.is_err() {
                    break;
                }
            }
            Ok(0) | Err(_) => break,
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
