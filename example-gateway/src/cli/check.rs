//! `check`: everything that `serve` would refuse or warn of, without serving.
//!
//! It makes the checks that `serve` makes before it listens, and tries each address. An address in use is a note
//! and not an error, because the gateway that is to be replaced may still be running there.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use http::Uri;

use crate::cli::file::configured_file;
use crate::config::summary::summary;
use crate::config::{self, Config, ForwardProxies, Mode, http_base};
use crate::lab::exit::code;
use crate::lab::term::Terminal;
use crate::stack::sessions;

#[derive(Args, Debug)]
pub(super) struct Check {
    /// The file; also as --config, as for serve.
    #[arg(conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The file; without it, that of AFFINITY_CONFIG.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check it for use with `serve --upstream`: the providers' keys may be missing.
    #[arg(long, value_name = "URL", value_parser = http_base)]
    upstream: Option<Uri>,
}

impl Check {
    /// The file to check, if one is named anywhere.
    pub(super) fn named(&self) -> Option<PathBuf> {
        configured_file(self.file.clone().or_else(|| self.config.clone()))
    }

    pub(super) fn run(self, file: &Path) -> io::Result<ExitCode> {
        let mut out = Terminal::stdio();
        let mut config = match Config::load(file, Mode::with(self.upstream.as_ref())) {
            Ok(config) => config,
            Err(errors) => {
                out.error(&errors.to_string())?;
                return Ok(code(false));
            }
        };
        for warning in &config.warnings {
            out.error(&format!("warning: {warning}"))?;
        }
        if let Some(upstream) = &self.upstream {
            config.replace_upstreams(upstream);
        }
        let proxied = config.call_through(ForwardProxies::from_environment());
        for advice in config::advice(&config) {
            out.error(&format!("warning: {advice}"))?;
        }
        let mut passed = true;
        let unusable = proxied.err().unwrap_or_default().into_iter().map(Problem::Error);
        for problem in unusable.chain(problems(&config)) {
            match problem {
                Problem::Error(why) => {
                    passed = false;
                    out.error(&format!("{}: {why}", file.display()))?;
                }
                Problem::Passing(why) => out.error(&format!("note: {why}"))?,
            }
        }
        out.line(&summary(&config).to_string())?;
        Ok(code(passed))
    }
}

/// What would keep a configuration that can be read from being served.
enum Problem {
    Error(String),
    /// It may be over when the gateway starts.
    Passing(String),
}

fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    if config.calls_itself() {
        let text = "an upstream leads back to a listener of this gateway";
        problems.push(Problem::Error(text.to_owned()));
    }
    if let Err(why) = sessions::check(config) {
        problems.push(Problem::Error(format!("routing.session_cache: {why}")));
    }
    let listeners = config.listeners.iter().map(|listener| {
        (format!("listener {}", listener.name), (listener.address, listener.port).into())
    });
    let admin = config.admin.iter().map(|admin| ("admin".to_owned(), admin.address));
    problems.extend(listeners.chain(admin).filter_map(|(name, address)| bound(&name, address)));
    problems
}

/// Why `address` cannot be listened on.
fn bound(name: &str, address: SocketAddr) -> Option<Problem> {
    let error = TcpListener::bind(address).err()?;
    Some(match error.kind() {
        io::ErrorKind::AddrInUse => {
            Problem::Passing(format!("{name}: {address} is in use at the moment"))
        }
        _ => Problem::Error(format!("{name}: cannot listen on {address}: {error}")),
    })
}
