//! What small turns feel of the long bodies of other clients.
//!
//! Small turns are due at a fixed pace, and one that starts late counts from when it was due: a gateway that
//! stops for a second is not spared the turns of that second. They are measured alone and beside three
//! senders in turns, so that a machine that becomes slower does so for both. Long bodies go to a provider
//! stand-in of their own: the one for small turns reads nothing else.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use tokio::io::AsyncWriteExt;
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::body::conversation;
use super::connection::{Connection, Message, micros};
use super::stats::{median, percentile};
use super::subject::Subject;

const CHAT: &str = "/v1/chat/completions";
const MIB: usize = 1 << 20;

/// Clients that send long bodies, one after the other.
const SENDERS: usize = 3;

/// Clients with small turns, and the time from one turn of each to the next.
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(10);

/// Time of one measurement, and before it.
const SPAN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(500);

/// How a long body is sent.
#[derive(Clone, Copy)]
enum Sent {
    Plain,
    Chunked,
    Gzip,
    Brotli,
    Zstd,
}

/// What the neighbours send, to a gateway with these lines in its section `routing`.
struct Neighbour {
    name: &'static str,
    routing: &'static str,
    body: fn() -> String,
    sent: Sent,
}

fn talk(bytes: usize) -> String {
    // Their model is the one with a stand-in for long bodies.
    conversation(bytes).replace(r#""model":"gpt-4o""#, r#""model":"gpt-4o-mini""#)
}

/// A body whose member `input` repeats `item` over 32 MiB.
fn filled(item: &str) -> String {
    let messages = r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hello"}]"#;
    format!(r#"{messages},"input":[{item}0]}}"#, item = item.repeat(32 * MIB / item.len() - 64))
}

const USER_TURN: &str = "  release: user_turn\n";

const NEIGHBOURS: [Neighbour; 10] = [
    Neighbour { name: "32 MiB", routing: "", body: || talk(32 * MIB), sent: Sent::Plain },
    Neighbour {
        name: "32 MiB, `release: user_turn`",
        routing: USER_TURN,
        body: || talk(32 * MIB),
        sent: Sent::Plain,
    },
    Neighbour { name: "1 MiB", routing: "", body: || talk(MIB), sent: Sent::Plain },
    Neighbour {
        name: "1 MiB, `release: user_turn`",
        routing: USER_TURN,
        body: || talk(MIB),
        sent: Sent::Plain,
    },
    Neighbour {
        name: "32 MiB without a length",
        routing: "",
        body: || talk(32 * MIB),
        sent: Sent::Chunked,
    },
    Neighbour { name: "32 MiB, gzip", routing: "", body: || talk(32 * MIB), sent: Sent::Gzip },
    Neighbour { name: "32 MiB, br", routing: "", body: || talk(32 * MIB), sent: Sent::Brotli },
    Neighbour { name: "32 MiB, zstd", routing: "", body: || talk(32 * MIB), sent: Sent::Zstd },
    Neighbour {
        name: "32 MiB of `1,1,…`, `release: user_turn`",
        routing: USER_TURN,
        body: || filled("1,"),
        sent: Sent::Plain,
    },
    Neighbour {
        name: "32 MiB of `{},{},…`, `release: user_turn`",
        routing: USER_TURN,
        body: || filled("{},"),
        sent: Sent::Plain,
    },
];

/// One measurement, in microseconds.
#[derive(Clone, Copy)]
struct Sample {
    p50: f64,
    p99: f64,
    worst: f64,
}

/// Measures each kind of neighbour whose name contains `only`, `pairs` times, and gives a table in Markdown.
///
/// # Errors
///
/// When a server breaks off or refuses.
pub async fn beside(gateway: &Path, pairs: usize, only: &str) -> io::Result<String> {
    let small = Subject::own("small", &["provider"]).await?;
    let large = Subject::own("large", &["provider"]).await?;
    let mut table = "| beside three senders of | p50, µs | p99, µs | longest, µs | p99 / p99 alone | bodies a second |\n\
         |---|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for neighbour in NEIGHBOURS.iter().filter(|neighbour| neighbour.name.contains(only)) {
        writeln!(io::stderr(), "{}", neighbour.name)?;
        let config = config(small.address, large.address, neighbour.routing);
        let subject = Subject::serving("gateway", gateway, &config).await;
        let request: Arc<[u8]> = neighbour.request(subject.address).await?.into();
        let (mut alone, mut beside, mut bodies) = (Vec::new(), Vec::new(), 0);
        for _ in 0..pairs {
            alone.push(turns(subject.address).await?);
            let senders = Senders::start(subject.address, &request);
            sleep(WARM_UP).await;
            beside.push(turns(subject.address).await?);
            bodies += senders.stop().await?;
            // What they have left behind is not the next measurement's.
            sleep(WARM_UP).await;
        }
        table += &row(neighbour.name, &alone, &beside, bodies);
    }
    Ok(table)
}

fn row(name: &str, alone: &[Sample], beside: &[Sample], bodies: usize) -> String {
    let both = |value: fn(&Sample) -> f64| {
        let of = |samples: &[Sample]| median(samples.iter().map(value));
        format!("{:.0} → {:.0}", of(alone), of(beside))
    };
    let ratio = median(alone.iter().zip(beside).map(|(alone, beside)| beside.p99 / alone.p99));
    let rate = bodies as f64 / (alone.len() as f64 * (SPAN + WARM_UP).as_secs_f64());
    let mut row = String::new();
    let (p50, p99, worst) = (both(|s| s.p50), both(|s| s.p99), both(|s| s.worst));
    let _ = writeln!(row, "| {name} | {p50} | {p99} | {worst} | {ratio:.2} | {rate:.1} |");
    row
}

fn config(small: SocketAddr, large: SocketAddr, routing: &str) -> String {
    format!(
        "version: v0.4.0\nlisteners:\n  - {{type: model, name: bench, port: 12000}}\n\
         model_providers:\n  \
         - {{model: openai/gpt-4o, access_key: k, base_url: 'http://{small}', default: true}}\n  \
         - {{model: openai/gpt-4o-mini, access_key: k, base_url: 'http://{large}'}}\n\
         routing_preferences:\n  \
         - {{name: poems, description: writing poems that rhyme, models: [openai/gpt-4o]}}\n\
         routing:\n  session_ttl_seconds: 86400\n{routing}"
    )
}

/// The small turns of one measurement.
async fn turns(address: SocketAddr) -> io::Result<Sample> {
    let body = conversation(1 << 10);
    let mut running = JoinSet::new();
    let message = Message { path: CHAT, accept: "application/json", body: &body };
    let begin = Instant::now() + PACE;
    for client in 0..CLIENTS {
        let session = format!("beside-{client}-7b6fd5e2-3c0a-4f6e-9d2e");
        let mut connection = Connection::open(address, message, &session).await?;
        // The first turn decides.
        connection.exchange().await?;
        let offset = PACE * u32::try_from(client).unwrap_or(0) / 8;
        running.spawn(at_a_pace(connection, begin + WARM_UP / 2 + offset));
    }
    let mut latencies = Vec::new();
    while let Some(seen) = running.join_next().await {
        latencies.extend(seen.map_err(io::Error::other)??);
    }
    latencies.sort_by(f64::total_cmp);
    let worst = latencies.last().copied().unwrap_or(f64::NAN);
    Ok(Sample { p50: percentile(&latencies, 500), p99: percentile(&latencies, 990), worst })
}

async fn at_a_pace(mut connection: Connection, begin: Instant) -> io::Result<Vec<f64>> {
    let (mut due, mut latencies) = (begin, Vec::new());
    while due < begin + SPAN {
        let late = Instant::now() >= due;
        if !late {
            sleep_until(due).await;
        }
        let started = if late { due } else { Instant::now() };
        if !connection.exchange().await? {
            return Err(io::Error::other("a small turn was refused"));
        }
        latencies.push(micros(started.elapsed()));
        due += PACE;
    }
    Ok(latencies)
}

/// Threads that send long bodies until they are stopped.
struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<io::Result<usize>>>,
}

impl Senders {
    fn start(address: SocketAddr, request: &Arc<[u8]>) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let thread = |_| {
            let (request, stop) = (request.clone(), stop.clone());
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(send(address, &request, &stop))
            })
        };
        let threads = (0..SENDERS).map(thread).collect();
        Self { stop, threads }
    }

    /// How many bodies were answered.
    async fn stop(self) -> io::Result<usize> {
        self.stop.store(true, Relaxed);
        let mut bodies = 0;
        for thread in self.threads {
            let joined = tokio::task::spawn_blocking(move || thread.join());
            let sent = joined.await.map_err(io::Error::other)?;
            bodies += sent.map_err(|_| io::Error::other("a sender panicked"))??;
        }
        Ok(bodies)
    }
}

async fn send(address: SocketAddr, request: &[u8], stop: &AtomicBool) -> io::Result<usize> {
    let mut connection = Connection::of(address, request.to_vec()).await?;
    let mut bodies = 0;
    while !stop.load(Relaxed) {
        if !connection.exchange().await? {
            return Err(io::Error::other("a long body was refused"));
        }
        bodies += 1;
    }
    Ok(bodies)
}

impl Neighbour {
    /// Its request, head and body.
    async fn request(&self, address: SocketAddr) -> io::Result<Vec<u8>> {
        let body = (self.body)().into_bytes();
        let (coding, body) = match self.sent {
            Sent::Plain | Sent::Chunked => (None, body),
            Sent::Gzip => (Some("gzip"), {
                let mut encoder = GzipEncoder::new(Vec::new());
                encoder.write_all(&body).await?;
                encoder.shutdown().await?;
                encoder.into_inner()
            }),
            Sent::Brotli => (Some("br"), {
                let mut encoder =
                    BrotliEncoder::with_quality(Vec::new(), async_compression::Level::Precise(4));
                encoder.write_all(&body).await?;
                encoder.shutdown().await?;
                encoder.into_inner()
            }),
            Sent::Zstd => (Some("zstd"), {
                let mut encoder = ZstdEncoder::new(Vec::new());
                encoder.write_all(&body).await?;
                encoder.shutdown().await?;
                encoder.into_inner()
            }),
        };
        let mut head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
             x-model-affinity: neighbour\r\n"
        );
        if let Some(coding) = coding {
            head += &format!("content-encoding: {coding}\r\n");
        }
        if !matches!(self.sent, Sent::Chunked) {
            head += &format!("content-length: {}\r\n\r\n", body.len());
            return Ok([head.into_bytes(), body].concat());
        }
        head += "transfer-encoding: chunked\r\n\r\n";
        let mut request = head.into_bytes();
        for piece in body.chunks(64 << 10) {
            request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            request.extend_from_slice(piece);
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"0\r\n\r\n");
        Ok(request)
    }
}
