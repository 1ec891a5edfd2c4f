//! What a pinned turn asks of Redis.

use std::io;

use super::body::conversation;
use super::connection::Message;
use super::load::Load;
use super::plan::Plan;
use super::subject::Subject;
use crate::redis::RedisServer;

/// What a turn may send about its pin. Scripts are not among it: no turn of these sessions runs one, and
/// now and then one is run that tells which models are drained.
const COMMANDS: [&str; 3] = ["getrange", "pttl", "set"];

/// What Redis was sent while pinned turns were served.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Commands {
    pub(super) turns: f64,
    /// Commands that read or write a pin.
    pub(super) sent: u64,
}

/// Counts the commands of one run of pinned turns.
pub(super) async fn commands(
    redis: &RedisServer,
    gateway: &Subject,
    plan: &Plan,
) -> io::Result<Commands> {
    let body = conversation(1 << 10);
    let message = Message { path: "/v1/chat/completions", accept: "application/json", body: &body };
    let load = Load { message, connections: 16, warm_up: plan.warm_up, span: plan.span };
    // The sessions get their near copies.
    load.run(gateway.address, gateway.process).await?;
    let before = redis.commands(&COMMANDS).await;
    let sample = load.run(gateway.address, gateway.process).await?;
    let sent = redis.commands(&COMMANDS).await - before;
    Ok(Commands { turns: sample.rate * plan.span.as_secs_f64(), sent })
}
