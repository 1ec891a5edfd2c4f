//! The demo: one agent's loop twice, without and with affinity, and which model answered.
//!
//! The steps of the [agent](Agent) differ in their intent on purpose, so that a router that judges each one
//! alone changes the model in mid-task. The run without affinity shows that, and the other one does not.

mod agent;
mod tools;
mod worth;

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use affinity_layer::headers::AFFINITY_HEADER;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

pub use self::agent::{Agent, Step, TASK, Turn};
use self::worth::{Spent, worth};
use crate::lab::client::{ClientError, GatewayClient};
use crate::lab::term::{Style, Terminal};

/// Columns for the model's name.
const MODEL_WIDTH: usize = 28;
const RULE_WIDTH: usize = 56;
const REPORT_WIDTH: usize = 70;

/// Between two turns that somebody watches.
pub const WATCHED: Duration = Duration::from_millis(1200);

/// Names the run that a call belongs to, where an observer is to tell them apart.
pub const RUN_HEADER: HeaderName = HeaderName::from_static("x-demo-run");

/// How both runs go.
pub struct Plan<'a> {
    /// Turns of each, at most.
    pub turns: usize,
    /// How the first is sent.
    pub without: Without,
    /// The time before each turn but the first; it is asked for each time.
    pub pace: &'a (dyn Fn() -> Duration + Sync),
}

/// How the run without affinity is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Without {
    /// Without a session id, as agents do that know of none.
    Session,
    /// With one, and `bypass` at each turn. The effect is the same, and an observer of the gateway can see
    /// which turns belong together. Both runs name themselves by [`RUN_HEADER`].
    Pin,
}

/// Runs the agent without and with affinity, prints both runs turn by turn, and then what the affinity was
/// worth. The calls of a run go over `gateways` in turn, as a load balancer would send them.
///
/// Gives whether one model held the second run.
///
/// # Errors
///
/// Those of the output stream. If the gateway does not answer, the error stream says so, and the
/// result is `false`.
pub async fn run(gateways: &[&str], plan: &Plan<'_>, out: &mut Terminal) -> io::Result<bool> {
    let clients = gateways.iter().map(|url| GatewayClient::new(url)).collect::<Result<Vec<_>, _>>();
    let clients = match clients {
        Ok(clients) => clients,
        Err(error) => return refuse(out, &error),
    };

    let (headers, beside) = plan.without.headers();
    heading(out, &format!("Run 1: WITHOUT Model Affinity{beside}"))?;
    let without = match follow(&clients, headers, plan, out).await? {
        Ok(run) => run,
        Err(error) => return refuse(out, &error),
    };
    out.line("")?;
    out.line(&without.summary("Without", out))?;
    out.line("")?;
    out.line("")?;

    let id = Uuid::new_v4().to_string();
    let shown = id.get(..8).unwrap_or(&id);
    heading(out, &format!("Run 2: WITH Model Affinity (X-Model-Affinity: {shown}…)"))?;
    let with = match follow(&clients, plan.without.with(&id), plan, out).await? {
        Ok(run) => run,
        Err(error) => return refuse(out, &error),
    };
    out.line("")?;
    out.line(&with.summary("With", out))?;
    report(out, with.answer.as_deref())?;
    if let Some(worth) = worth(&without.spent, &with.spent) {
        out.line(&worth)?;
    }
    Ok(with.held())
}

impl Without {
    /// The headers, and what the heading says of them.
    fn headers(self) -> (HeaderMap, &'static str) {
        match self {
            Self::Session => (HeaderMap::new(), ""),
            Self::Pin => {
                let mut headers = affinity(&Uuid::new_v4().to_string());
                headers.insert(AFFINITY_HEADER, HeaderValue::from_static("bypass"));
                headers.insert(RUN_HEADER, HeaderValue::from_static("without-affinity"));
                (headers, " (x-plano-affinity: bypass)")
            }
        }
    }

    /// The headers of the run beside it, whose session is `id`.
    fn with(self, id: &str) -> HeaderMap {
        let mut headers = affinity(id);
        if self == Self::Pin {
            headers.insert(RUN_HEADER, HeaderValue::from_static("with-affinity"));
        }
        headers
    }
}

fn affinity(id: &str) -> HeaderMap {
    let id = HeaderValue::from_str(id);
    id.into_iter().map(|id| (HeaderName::from_static("x-model-affinity"), id)).collect()
}

fn refuse(out: &mut Terminal, error: &ClientError) -> io::Result<bool> {
    out.error(&format!("demo: {error}"))?;
    Ok(false)
}

fn heading(out: &mut Terminal, text: &str) -> io::Result<()> {
    let text = out.paint(Style::Bold, text);
    out.line(&text)?;
    out.line(&"━".repeat(RULE_WIDTH))
}

/// One run of the agent, as far as the summary needs it.
#[derive(Default)]
struct Run {
    models: Vec<String>,
    /// What the answers themselves name; a gateway that pins shows one here as well.
    answered_by: BTreeSet<String>,
    answer: Option<String>,
    spent: Spent,
}

/// Runs the agent to its answer or for as many turns as planned, printing each turn as it ends.
async fn follow(
    clients: &[GatewayClient],
    headers: HeaderMap,
    plan: &Plan<'_>,
    out: &mut Terminal,
) -> io::Result<Result<Run, ClientError>> {
    let task = json!({"role": "user", "content": TASK});
    let mut agent = Agent::new(clients.to_vec(), headers, vec![task]);
    let mut run = Run::default();
    for number in 1..=plan.turns {
        out.progress(&format!("turn {number} …"))?;
        if number > 1 {
            sleep((plan.pace)()).await;
        }
        let turn = match agent.turn().await {
            Ok(turn) => turn,
            Err(error) => return Ok(Err(error)),
        };
        let switched = run.models.last().is_some_and(|last| *last != turn.model);
        out.line(&line(number, &turn, switched, out))?;
        run.models.push(turn.model);
        run.answered_by.insert(turn.answered_by);
        run.spent.add(run.models.last().map_or("", String::as_str), &turn.tokens);
        if let Step::Answer(answer) = turn.step {
            run.answer = Some(answer);
            break;
        }
    }
    Ok(Ok(run))
}

fn line(number: usize, turn: &Turn, switched: bool, out: &Terminal) -> String {
    let model = short(&turn.model);
    let step = match &turn.step {
        Step::Tools(names) => names.join(", "),
        Step::Answer(_) => "final answer".to_owned(),
    };
    let mut line = format!("turn {number}  [{model:<MODEL_WIDTH$}]  {step}");
    if let Some(replica) = &turn.replica {
        let replica = format!("(replica {replica})");
        line = format!("{line}  {}", out.paint(Style::Dim, &replica));
    }
    if turn.pinned {
        line = format!("{line}  {}", out.paint(Style::Green, "✓ pinned"));
    }
    if switched {
        line = format!("{line}  {}", out.paint(Style::Yellow, "← switched"));
    }
    // A provider may answer under a dated name of the same model.
    if !short(&turn.answered_by).starts_with(model) {
        let differs = format!("(the answer names {})", turn.answered_by);
        line = format!("{line}  {}", out.paint(Style::Red, &differs));
    }
    line
}

/// The model without its provider.
fn short(model: &str) -> &str {
    model.split_once('/').map_or(model, |(_, id)| id)
}

impl Run {
    fn switches(&self) -> usize {
        self.models.iter().zip(self.models.iter().skip(1)).filter(|(one, next)| one != next).count()
    }

    fn held(&self) -> bool {
        !self.models.is_empty() && self.switches() == 0 && self.answered_by.len() == 1
    }

    fn summary(&self, which: &str, out: &Terminal) -> String {
        let turns = self.models.len();
        let (style, text) = match self.models.first() {
            None => (Style::Red, format!("✗ {which} affinity: no turn was run")),
            Some(model) if self.held() => (
                Style::Green,
                format!("✓ {which} affinity: {} for all {turns} turns", short(model)),
            ),
            Some(_) if self.switches() == 0 => {
                (Style::Red, format!("✗ {which} affinity: the answers name several models"))
            }
            Some(_) => {
                let switches = self.switches();
                (Style::Red, format!("✗ {which} affinity: model switched {switches} time(s)"))
            }
        };
        out.paint(style, &text)
    }
}

fn report(out: &mut Terminal, answer: Option<&str>) -> io::Result<()> {
    out.line("")?;
    let Some(answer) = answer else {
        return out.line("The loop ended at its limit of turns, without a final answer.");
    };
    out.line(&format!("{:═<REPORT_WIDTH$}", "══ Final Report (pinned session) "))?;
    out.line(answer)?;
    out.line(&"═".repeat(REPORT_WIDTH))
}

#[cfg(test)]
mod tests;
