//! Checks a running gateway as an outside client: does a session keep its model?
//!
//! It sends a few requests without a session, to show that the model may vary, and then the rounds of each
//! session. A session passes only if three things agree: one model in the headers, one model in the bodies,
//! and `x-plano-pinned: true` from the second round on. Headers alone would let a gateway pass that says it
//! pins and does not.

use std::collections::BTreeSet;
use std::io;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::lab::client::{Answer, ClientError, GatewayClient};
use crate::lab::term::{Style, Terminal};

/// Requests without a session.
const UNPINNED_REQUESTS: usize = 3;

/// The model that is asked for where none is named.
pub(crate) const MODEL: &str = "openai/gpt-4o-mini";

const RULE_WIDTH: usize = 60;

/// Prompts of different intent, so that a router that is asked again would decide differently.
const PROMPTS: [&str; 4] = [
    "Write a short, simple poem about the ocean.",
    "Explain quantum entanglement in detail, with multi-step reasoning and math.",
    "Generate a function that reverses a list.",
    "Give a detailed analysis of the trade-offs between SQL and NoSQL.",
];

/// What to check, and how much.
#[derive(Debug)]
pub struct Plan {
    /// The gateway.
    pub url: String,
    /// The model to ask for.
    pub model: String,
    /// The client key to show, if the gateway asks for one.
    pub key: Option<SecretString>,
    /// Sessions to check.
    pub sessions: usize,
    /// Requests in each session.
    pub rounds: usize,
    /// What follows `demo-session-001` and so on in the ids of the sessions.
    pub suffix: String,
}

impl Plan {
    /// All requests that are sent.
    fn requests(&self) -> usize {
        UNPINNED_REQUESTS + self.sessions * self.rounds
    }
}

/// Says what it is going to send, sends three requests without a session, then those of each
/// session, and prints which model answered.
///
/// Gives whether every session saw one model and was pinned, as the gateway's `x-plano-pinned`
/// says, from its second round on. A request that fails makes the check fail.
///
/// # Errors
///
/// Those of the output stream.
pub async fn run(plan: &Plan, out: &mut Terminal) -> io::Result<bool> {
    let client = match Asking::new(plan) {
        Ok(client) => client,
        Err(error) => return refuse(out, &error.to_string()),
    };
    let Plan { sessions, rounds, .. } = *plan;
    if sessions == 0 || rounds == 0 {
        return refuse(out, "nothing to check: at least one session and one round are needed");
    }
    out.line(&format!("Plano endpoint : {}", client.gateway.endpoint()))?;
    out.line(&format!("Sessions       : {sessions}"))?;
    out.line(&format!("Rounds/session : {rounds}"))?;
    let (requests, model) = (plan.requests(), &plan.model);
    out.line(&format!(
        "Requests       : {requests} short questions to {model}, charged by its provider as usual"
    ))?;

    if let Err(error) = without_session(&client, out).await? {
        return refuse(out, &error.to_string());
    }
    section(
        out,
        &[
            "Phase 2: Requests WITH X-Model-Affinity (session pinning)",
            "Each session should be pinned to exactly one model.",
        ],
    )?;
    let mut findings = Vec::new();
    for number in 1..=sessions {
        findings.push(session(&client, number, out).await?);
    }
    results(&findings, out)
}

fn refuse(out: &mut Terminal, why: &str) -> io::Result<bool> {
    out.error(&format!("verify: {why}"))?;
    Ok(false)
}

fn section(out: &mut Terminal, lines: &[&str]) -> io::Result<()> {
    let rule = "=".repeat(RULE_WIDTH);
    out.line("")?;
    out.line(&rule)?;
    for line in lines {
        let line = out.paint(Style::Bold, line);
        out.line(&line)?;
    }
    out.line(&rule)
}

/// A client that asks as planned.
struct Asking<'a> {
    gateway: GatewayClient,
    plan: &'a Plan,
    headers: HeaderMap,
}

impl<'a> Asking<'a> {
    fn new(plan: &'a Plan) -> Result<Self, ClientError> {
        let mut headers = HeaderMap::new();
        if let Some(key) = &plan.key {
            let bearer = HeaderValue::try_from(format!("Bearer {}", key.expose_secret()));
            let mut bearer = bearer.map_err(|_| ClientError::Token)?;
            bearer.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, bearer);
        }
        Ok(Self { gateway: GatewayClient::new(&plan.url)?, plan, headers })
    }

    async fn ask(&self, session: Option<&str>, round: usize) -> Result<Answer, ClientError> {
        let mut headers = self.headers.clone();
        if let Some(id) = session.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert(HeaderName::from_static("x-model-affinity"), id);
        }
        let prompt = PROMPTS.get((round - 1) % PROMPTS.len());
        let body = json!({
            "model": self.plan.model,
            "messages": [{"role": "user", "content": prompt}]
        });
        self.gateway.chat(&headers, &body).await
    }
}

async fn without_session(
    client: &Asking<'_>,
    out: &mut Terminal,
) -> io::Result<Result<(), ClientError>> {
    section(
        out,
        &[
            "Phase 1: Requests WITHOUT X-Model-Affinity header",
            "(model may vary between requests — that is expected)",
        ],
    )?;
    let mut models = BTreeSet::new();
    for number in 1..=UNPINNED_REQUESTS {
        out.progress(&format!("  Request {number} …"))?;
        let answer = match client.ask(None, number).await {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        out.line(&format!("  Request {number}: model = {}", answer.model()))?;
        models.insert(answer.model());
    }
    out.line(&format!("  Models seen across {UNPINNED_REQUESTS} requests: {}", set(&models)))?;
    Ok(Ok(()))
}

/// What a session showed.
struct Finding {
    session: String,
    models: BTreeSet<String>,
    /// What the answers themselves name.
    answered_by: BTreeSet<String>,
    /// Rounds after the first that were not pinned.
    unpinned: usize,
    failed: usize,
}

async fn session(client: &Asking<'_>, number: usize, out: &mut Terminal) -> io::Result<Finding> {
    let session = format!("demo-session-{number:03}{}", client.plan.suffix);
    out.line("")?;
    out.line(&format!("Session '{session}':"))?;
    let (models, answered_by) = (BTreeSet::new(), BTreeSet::new());
    let mut finding = Finding { session, models, answered_by, unpinned: 0, failed: 0 };
    for round in 1..=client.plan.rounds {
        out.progress(&format!("  Round {round} …"))?;
        // Sessions begin with different prompts, so that they may land on different models.
        let answer = match client.ask(Some(&finding.session), number + round - 1).await {
            Ok(answer) => answer,
            Err(error) => {
                out.error(&format!("verify: {} round {round}: {error}", finding.session))?;
                finding.failed += 1;
                continue;
            }
        };
        let mark = match answer.pinned() {
            Some(true) => out.paint(Style::Green, "[PINNED]"),
            Some(false) if round == 1 => "[FIRST — sets affinity]".to_owned(),
            _ => out.paint(Style::Red, "[NOT PINNED]"),
        };
        out.line(&format!("  Round {round}: model = {} {mark}", answer.model()))?;
        finding.unpinned += usize::from(round > 1 && answer.pinned() != Some(true));
        finding.models.insert(answer.model());
        finding.answered_by.insert(answer.body_model());
    }
    Ok(finding)
}

impl Finding {
    /// What is wrong, `None` when the session passed.
    fn fault(&self) -> Option<String> {
        if self.failed > 0 {
            Some(format!("{} request(s) failed", self.failed))
        } else if self.models.len() > 1 {
            Some(format!("saw {} models: {}", self.models.len(), set(&self.models)))
        } else if self.answered_by.len() > 1 {
            Some(format!("the answers name several models: {}", set(&self.answered_by)))
        } else if self.unpinned > 0 {
            Some(format!("{} round(s) were not pinned", self.unpinned))
        } else {
            None
        }
    }
}

fn results(findings: &[Finding], out: &mut Terminal) -> io::Result<bool> {
    section(out, &["Results"])?;
    for finding in findings {
        let (mark, what) = match finding.fault() {
            Some(fault) => (out.paint(Style::Red, "FAIL"), fault),
            None => {
                let models = finding.models.iter().map(|model| format!("'{model}'"));
                let model = models.collect::<String>();
                (out.paint(Style::Green, "PASS"), format!("always routed to {model}"))
            }
        };
        out.line(&format!("{mark} {} -> {what}", finding.session))?;
    }
    let passed = findings.iter().all(|finding| finding.fault().is_none());
    out.line("")?;
    out.line(if passed {
        "All sessions were pinned consistently."
    } else {
        "Not all sessions were pinned consistently."
    })?;
    Ok(passed)
}

fn set(names: &BTreeSet<String>) -> String {
    let names = names.iter().map(|name| format!("'{name}'")).collect::<Vec<_>>();
    format!("{{{}}}", names.join(", "))
}

#[cfg(test)]
mod tests;
