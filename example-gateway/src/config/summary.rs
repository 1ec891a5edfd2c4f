//! What a configuration is going to serve, for people to read.
//!
//! `check` prints it. It shows what the file means after defaults, aliases and older keys, and so what a file
//! that is read without an error may still get wrong.

use std::fmt;
use std::time::Duration;

use affinity_layer::mode::Rollout;
use affinity_layer::{Expiry, ModelName};
use http::HeaderName;

use super::identity;
use super::{Config, Inputs, Policy, Protocols, Provider, Release, Router, Routing};

/// The configuration in words, without secrets. Made by [`summary`].
#[derive(Clone, Copy, Debug)]
pub struct Summary<'a>(&'a Config);

/// Shows `config` as a few lines of text.
#[must_use]
pub fn summary(config: &Config) -> Summary<'_> {
    Summary(config)
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { listeners, providers, preferences, aliases, routing, admin, .. } = self.0;
        let Config { limits, tracing, .. } = self.0;
        for listener in listeners {
            let (address, keys) = (listener.address, listener.client_keys.len());
            let socket = std::net::SocketAddr::new(address, listener.port);
            let tls = if listener.tls.is_some() { " by TLS" } else { "" };
            writeln!(
                f,
                "listener  {}: {socket}{tls}, client keys: {keys}",
                listener.name.escape_debug()
            )?;
        }
        if let Some(admin) = admin {
            writeln!(f, "admin     {}, with a token", admin.address)?;
        }
        for provider in providers {
            writeln!(f, "model     {}", Model(provider))?;
        }
        for preference in preferences {
            let models: Vec<_> = preference.models.iter().map(ModelName::as_str).collect();
            writeln!(f, "route     {}: {}", preference.name, models.join(", "))?;
        }
        for (alias, model) in aliases {
            writeln!(f, "alias     {}: {model}", alias.escape_debug())?;
        }
        if let Some(model) = &self.0.passthrough {
            writeln!(f, "uploads   and all that names no model: the provider of {model}")?;
        }
        sessions(routing, f)?;
        for (proxy, called) in self.0.called_through() {
            writeln!(f, "proxy     {proxy}, on the way to {}", called.join(", "))?;
        }
        for limits in limits.named().chunks(5) {
            let limits: Vec<_> =
                limits.iter().map(|(name, value)| format!("{name} {value}")).collect();
            writeln!(f, "limits    {}", limits.join(", "))?;
        }
        if let Some(endpoint) = tracing.endpoint.as_ref().filter(|_| tracing.random_sampling > 0.0)
        {
            writeln!(f, "traces    {} % to {endpoint}", tracing.random_sampling)?;
        }
        let failover = if routing.failover { "on" } else { "off" };
        write!(f, "pins      {}, failover {failover}", Pins(routing.expiry, routing.release))
    }
}

/// How requests are decided, and how they are found to belong together.
fn sessions(routing: &Routing, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match &routing.router {
        Router::Lexical => writeln!(f, "router    lexical")?,
        Router::Llm { url, model, .. } => {
            writeln!(f, "router    {} at {url}", model.escape_debug())?
        }
        Router::Plano { url, .. } => writeln!(f, "router    another gateway at {url}")?,
    }
    writeln!(f, "sessions  {}, at most {} in memory", routing.cache, routing.max_entries)?;
    if !routing.session_headers.is_empty() {
        let names: Vec<_> = routing.session_headers.iter().map(HeaderName::as_str).collect();
        writeln!(f, "headers   {} before the usual ones", names.join(", "))?;
    }
    if routing.session_baggage {
        writeln!(f, "baggage   session.id, without another id in a header")?;
    }
    if !routing.body_ids.is_empty() {
        let names: Vec<_> = routing.body_ids.iter().copied().map(identity::name).collect();
        writeln!(f, "body ids  {}", names.join(", "))?;
    }
    if routing.fingerprint.is_some() {
        writeln!(f, "guesses   sessions without an id, by the openings of conversations")?;
    }
    if let Some(header) = &routing.tenant_header {
        writeln!(f, "tenant    {header}")?;
    }
    if routing.mode != Rollout::default() {
        writeln!(f, "mode      {}", routing.mode)?;
    }
    if let Policy::Cost { max_switch_share } = routing.policy {
        writeln!(f, "policy    cost, moves at most {max_switch_share} of what a session spends")?;
    }
    if routing.warm_up_turns > 0 {
        writeln!(f, "warm-up   {} turns", routing.warm_up_turns)?;
    }
    if !routing.escalation.is_empty() {
        let order: Vec<_> = routing.escalation.iter().map(ModelName::as_str).collect();
        writeln!(f, "escalate  {}", order.join(" < "))?;
    }
    if routing.regret_sample > 0.0 {
        writeln!(f, "regret    {} of pinned turns are routed again", routing.regret_sample)?;
    }
    Ok(())
}

struct Model<'a>(&'a Provider);

impl fmt::Display for Model<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Provider { model, access_key, passthrough_auth, default, input, .. } = self.0;
        let Provider { base_url, protocols, .. } = self.0;
        let default = if *default { " (default)" } else { "" };
        let key = match (passthrough_auth, access_key) {
            (true, _) => "the client's key",
            (false, Some(_)) => "with a key",
            (false, None) => "without a key",
        };
        // A base without a path shows none.
        let base_url = base_url.to_string();
        write!(f, "{model}{default}: {}, {key}", base_url.trim_end_matches('/'))?;
        if *protocols != Protocols::default() {
            let spoken = protocols.named().into_iter().filter(|(_, spoken)| *spoken);
            let spoken: Vec<_> = spoken.map(|(name, _)| name).collect();
            write!(f, ", speaks {}", spoken.join(", "))?;
        }
        if *input == Inputs::ALL {
            return Ok(());
        }
        f.write_str(", takes text")?;
        let kinds = [(input.image, "image"), (input.audio, "audio"), (input.file, "file")];
        kinds.iter().filter(|(taken, _)| *taken).try_for_each(|(_, kind)| write!(f, ", {kind}"))
    }
}

struct Pins(Expiry, Release);

impl fmt::Display for Pins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(expiry, release) = self;
        let seconds = expiry.initial().as_secs();
        let sliding = expiry.after_use(Duration::ZERO).is_some();
        let from = if sliding { "last use" } else { "claim" };
        write!(f, "end {seconds} s after the {from}")?;
        match release {
            Release::Ttl => Ok(()),
            Release::FinalAnswer => f.write_str(" or with the final answer"),
            Release::UserTurn => f.write_str(" or with the next message of the user"),
        }
    }
}
