//! Whether a pin can be read and written: the commands of the protocol, tried on a name of no pin.
//!
//! A `PING` shows that a server answers. It does not show that it is a primary, has memory, and
//! lets this user write these names; without a probe, that would show only when a session could not
//! be pinned. So the probe does what a session does: it reads, claims with `SET NX GET`, and has a
//! script call each command that the other scripts call. It leaves nothing behind, or for a second
//! at most.
//!
//! The name is `PREFIX%probe-N`. In a cluster, N is counted up until the node that is tried serves
//! the name's slot.

use fred::error::Error;
use fred::prelude::FromValue;
use fred::types::Value;

use super::super::connection::Commands;
use super::super::node::Node;
use super::super::unready::Unready;
use super::value::MAX_VALUE_LEN;
use super::{Protocol, scripts};

/// How many names are tried for one whose slot a node of a cluster serves.
const NAMES: usize = 4096;

/// How long a name lives that a probe has left behind, in milliseconds.
const LIFE: i64 = 1000;

/// Why pins cannot be read and written at `node`, if so.
pub(in crate::store::redis) async fn probe(protocol: &Protocol, node: &Node) -> Option<Unready> {
    let name = name(protocol, node)?;
    let commands = node.commands(protocol.servers.command_timeout());
    let tried = try_all(&commands, &name).await;
    tried.unwrap_or_else(|error| Some(Unready::of(&error)))
}

/// Whether `node`, which the options name as the only server, says that it belongs to a cluster.
pub(in crate::store::redis) async fn is_of_a_cluster(protocol: &Protocol, node: &Node) -> bool {
    if node.is_of_cluster() {
        return false;
    }
    let commands = node.commands(protocol.servers.command_timeout());
    // Where `INFO` is forbidden, redirections will show it.
    commands.info("server").await.is_ok_and(|info| info.contains("redis_mode:cluster"))
}

/// The first refusal counts. An error of a command comes as an error; one inside of the script
/// comes as the name of the command and the error's text.
async fn try_all(commands: &Commands, name: &str) -> Result<Option<Unready>, Error> {
    commands.read(name, MAX_VALUE_LEN).await?;
    commands.set_new(name, "probe", LIFE).await?;
    let refused = commands.eval::<Value>(scripts::PROBE, name, vec![LIFE.into()]).await?;
    // A script does not say which of its commands was forbidden, so this one does.
    let Ok((command, error)) = <(String, String)>::from_value(refused) else {
        return Ok(None);
    };
    Ok(Some(match Unready::of(&Error::new(fred::error::ErrorKind::Unknown, error)) {
        Unready::ReadOnly => Unready::ReadOnly,
        Unready::Full => Unready::Full,
        _ => Unready::NoPermission(Some(command.to_ascii_lowercase())),
    }))
}

/// A name that the node serves and that is the name of no pin: in those a `%` is followed by other
/// letters.
fn name(protocol: &Protocol, node: &Node) -> Option<String> {
    let names = (0..NAMES).map(|n| format!("{}%probe-{n}", protocol.names.prefix()));
    let serves = |name: &String| {
        protocol.servers.node(name).is_some_and(|served| std::ptr::eq(&*served, node))
    };
    names.into_iter().find(serves)
}
