//! `demo --replicas N`: the demo and the check, over replicas in processes of their own that share
//! nothing but one Redis.

mod child;
mod json;
mod reader;
mod redis;
mod replica;
mod settings;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use secrecy::SecretString;

use self::reader::Reader;
use self::redis::Redis;
use self::replica::Replica;
use self::settings::Settings;
use super::local::Local;
use crate::lab::balance::Balancer;
use crate::lab::demo::{self, Plan, WATCHED, Without};
use crate::lab::exit::{USAGE, code, unless_stopped};
use crate::lab::term::{Style, Terminal};
use crate::lab::verify;

/// What `verify` checks by default.
const SESSIONS: usize = 3;
const ROUNDS: usize = 4;

/// The session of `verify` whose pin is shown.
const SHOWN_SESSION: &str = "demo-session-001";

const RULE_WIDTH: usize = 70;

/// The demo over replicas.
#[derive(Debug)]
pub(crate) struct Replicas {
    pub(crate) count: usize,
    /// The Redis to use; without it, the demo starts one.
    pub(crate) redis: Option<SecretString>,
    pub(crate) turns: usize,
    /// Between two turns; by default, as long as it takes to watch them on a terminal.
    pub(crate) pace: Option<Duration>,
}

impl Replicas {
    /// Runs it to its end or to the first signal. All processes end with it, because each is killed
    /// when what holds it is dropped.
    pub(crate) async fn run(self) -> io::Result<ExitCode> {
        let mut out = Terminal::stdio();
        let done = unless_stopped(self.show(&mut out)).await;
        out.end()?;
        done
    }

    async fn show(self, out: &mut Terminal) -> io::Result<ExitCode> {
        out.progress("starting Redis …")?;
        let redis = match self.redis {
            Some(url) => Redis::at(url),
            None => Redis::start().await?,
        };
        let settings = match Settings::new(redis.url()) {
            Ok(settings) => settings,
            Err(why) => {
                out.error(&format!("demo: --redis: {why}"))?;
                return Ok(ExitCode::from(USAGE));
            }
        };
        let reader = Reader::connect(&settings).await?;
        let provider = Local::provider().await?;
        out.progress("starting the replicas …")?;
        let starting = (1..=self.count).map(|n| Replica::start(n, &settings, provider.url()));
        let replicas = futures_util::future::try_join_all(starting).await?;
        let balancer = Balancer::new(replicas.iter().map(Replica::authority));
        let front = Local::balancer(&balancer).await?;
        introduce(&settings, &redis, &replicas, &front, out)?;

        let url = front.url().to_string();
        let watched = if out.is_live() { WATCHED } else { Duration::ZERO };
        let pace = self.pace.unwrap_or(watched);
        let plan = Plan { turns: self.turns, without: Without::Session, pace: &|| pace };
        let held = demo::run(&[&url], &plan, out).await?;
        out.line("")?;
        out.line("")?;
        let plan = verify::Plan {
            url,
            model: verify::MODEL.to_owned(),
            key: None,
            sessions: SESSIONS,
            rounds: ROUNDS,
            suffix: String::new(),
        };
        let passed = verify::run(&plan, out).await?;
        let stored = show_pin(&settings, &reader, out).await?;
        let spread = show_answers(&balancer, out)?;
        let good = conclude([held, passed, stored, spread], self.count, out)?;
        Ok(code(good))
    }
}

fn introduce(
    settings: &Settings,
    redis: &Redis,
    replicas: &[Replica],
    front: &Local,
    out: &mut Terminal,
) -> io::Result<()> {
    let whose = if redis.is_own() { "started for this demo" } else { "as given" };
    out.line(&format!("Redis     : {} ({whose})", settings.redis_shown()))?;
    out.line(&format!("Keys      : {}<session>", settings.prefix()))?;
    for (number, replica) in (1..).zip(replicas) {
        let (address, process) = (replica.authority(), replica.id());
        out.line(&format!("Replica {number} : http://{address} (process {process})"))?;
    }
    let address = front.address();
    out.line(&format!("Balancer  : http://{address}, each request to the next replica"))?;
    out.line("")?;
    out.line("")
}

/// Shows what `redis-cli` would. Gives whether there is a pin with an end.
async fn show_pin(
    settings: &Settings,
    reader: &Reader<'_>,
    out: &mut Terminal,
) -> io::Result<bool> {
    let key = settings.key(SHOWN_SESSION);
    let pin = reader.stored(SHOWN_SESSION).await?;
    let value = pin.as_ref().map_or("(nil)".to_owned(), |pin| json::pretty(&pin.text));
    let left = pin.and_then(|pin| pin.left);
    heading(out, "What Redis holds")?;
    out.line(&format!("$ redis-cli GET {key}"))?;
    out.line(&value)?;
    out.line("")?;
    out.line(&format!("$ redis-cli TTL {key}"))?;
    // Redis rounds to the nearest second.
    let seconds = left.map(|left| (left + Duration::from_millis(500)).as_secs().to_string());
    let seconds = seconds.unwrap_or_else(|| "-1".to_owned());
    out.line(&format!("{seconds}  (seconds left)"))?;
    Ok(left.is_some())
}

/// Gives whether every replica answered.
fn show_answers(balancer: &Balancer, out: &mut Terminal) -> io::Result<bool> {
    heading(out, "Who answered")?;
    let answers = balancer.answers();
    for (number, answers) in (1..).zip(&answers) {
        out.line(&format!("replica {number}: {answers} requests"))?;
    }
    Ok(answers.iter().all(|answers| *answers > 0))
}

fn heading(out: &mut Terminal, text: &str) -> io::Result<()> {
    let text = format!("{:═<RULE_WIDTH$}", format!("══ {text} "));
    let text = out.paint(Style::Bold, &text);
    out.line("")?;
    out.line(&text)
}

fn conclude(shown: [bool; 4], count: usize, out: &mut Terminal) -> io::Result<bool> {
    let failures = [
        "the agent's session did not keep one model",
        "the check of the sessions failed",
        "the pin is not in Redis",
        "not every replica answered",
    ];
    let failures: Vec<_> =
        failures.into_iter().zip(shown).filter(|(_, good)| !good).map(|(text, _)| text).collect();
    let good = failures.is_empty();
    let (style, text) = if good {
        let text = "each session kept its model, whichever replica answered";
        (Style::Green, format!("✓ One model, {count} replicas, one Redis: {text}."))
    } else {
        (Style::Red, format!("✗ Over {count} replicas: {}.", failures.join("; ")))
    };
    let text = out.paint(style, &text);
    out.line("")?;
    out.line(&text)?;
    Ok(good)
}
