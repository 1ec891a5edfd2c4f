//! The command line.

mod demo;
pub mod report;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use http::Uri;
use secrecy::SecretString;
use tokio::net::TcpListener;

use self::demo::Demo;
use crate::config::{Config, Mode, http_base, summary};
use crate::edge::shutdown;
use crate::gateway::Gateway;
use crate::lab::exit::{USAGE, code};
use crate::lab::local::Local;
use crate::lab::term::Terminal;
use crate::lab::{provider, verify};
use crate::stack::sessions::StoreMissing;
use crate::telemetry::{self, LogFormat, Traces};

/// An LLM gateway that keeps one session on one model.
#[derive(Debug, Parser)]
#[command(version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
    /// The form of log lines, which go to stderr; RUST_LOG filters them.
    #[arg(long, value_enum, default_value_t, global = true, env = "LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve; what happens without a command.
    Serve(Serve),
    /// Run an agent twice, without and with affinity, against the simulated provider.
    Demo(Demo),
    /// Check a running gateway from outside.
    Verify(Verify),
    /// Serve the simulated provider alone.
    Provider(Provider),
    /// Check a configuration file.
    Check(Check),
    /// Print what pins have saved and what turns have cost, from a gateway's admin listener.
    Report(Report),
}

#[derive(Args, Debug, Default, PartialEq)]
struct Serve {
    /// The configuration; without it, an embedded one with the simulated provider.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of the configured listeners.
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Send the calls of all providers to one base URL; no keys are needed then.
    #[arg(long, value_name = "URL", value_parser = http_base)]
    upstream: Option<Uri>,
}

#[derive(Args, Debug)]
struct Verify {
    /// The gateway.
    #[arg(long, default_value = "http://127.0.0.1:12000")]
    url: String,
    /// Sessions to check.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    sessions: u16,
    /// Requests in each session.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

#[derive(Args, Debug)]
struct Provider {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:12001")]
    listen: SocketAddr,
}

#[derive(Args, Debug)]
struct Check {
    /// The file.
    file: PathBuf,
    /// Check it for use with `serve --upstream`: the providers' keys may be missing.
    #[arg(long, value_name = "URL", value_parser = http_base)]
    upstream: Option<Uri>,
}

#[derive(Args, Debug)]
struct Report {
    /// The admin listener of the gateway.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:12002", value_parser = http_base)]
    url: Uri,
    /// Its token.
    #[arg(long, value_name = "TOKEN", env = "AFFINITY_ADMIN_TOKEN", hide_env_values = true)]
    token: SecretString,
    /// Print the answer unchanged.
    #[arg(long)]
    json: bool,
}

/// What has to be there when `upstream` takes the place of the providers.
fn mode(upstream: Option<&Uri>) -> Mode {
    upstream.map_or(Mode::Full, |_| Mode::UpstreamOverride)
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// When a socket, a file or the terminal fails; the error names which.
    pub async fn run(self) -> io::Result<ExitCode> {
        let ended = self.run_command().await;
        telemetry::log::flush();
        ended
    }

    async fn run_command(self) -> io::Result<ExitCode> {
        // clap's own check would refuse the log format in this place as well.
        if self.command.is_some() && self.serve != Serve::default() {
            let text = "options of serve cannot come before a command";
            Self::command().error(ErrorKind::ArgumentConflict, text).exit();
        }
        let command = self.command.unwrap_or(Command::Serve(self.serve));
        let log = |lines| telemetry::start(self.log_format, lines, &Traces::default());
        match &command {
            // Its configuration says where traces go, so it starts both itself.
            Command::Serve(_) => {}
            Command::Demo(_) | Command::Verify(_) | Command::Report(_) => log("warn")?,
            Command::Provider(_) | Command::Check(_) => log(telemetry::LINES)?,
        }
        match command {
            Command::Serve(serve) => serve.run(self.log_format).await,
            Command::Demo(demo) => demo.run().await,
            Command::Verify(Verify { url, sessions, rounds }) => {
                let mut out = Terminal::stdio();
                let held = verify::run(&url, sessions.into(), rounds.into(), &mut out).await?;
                Ok(code(held))
            }
            Command::Provider(provider) => provider.run().await,
            Command::Check(check) => check.run(),
            Command::Report(Report { url, token, json }) => {
                Ok(code(report::run(&url, &token, json, &mut Terminal::stdio()).await?))
            }
        }
    }
}

impl Serve {
    async fn run(self, log_format: LogFormat) -> io::Result<ExitCode> {
        let stop = shutdown::on_signal()?;
        let mut config = match self.load() {
            Ok(config) => config,
            Err(error) => {
                Terminal::stdio().error(&error)?;
                return Ok(ExitCode::from(USAGE));
            }
        };
        let traces = Traces::new(&config.tracing)?;
        telemetry::start(log_format, telemetry::LINES, &traces)?;
        let mut local = None;
        if let Some(upstream) = &self.upstream {
            config.replace_upstreams(upstream);
        } else if self.config.is_none() {
            let provider = Local::provider().await?;
            tracing::info!(address = %provider.address(), "simulated provider: no model is called");
            config.replace_upstreams(&provider.url());
            local = Some(provider);
        }
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if self.listen.is_some_and(|address| config.listen_on(address)) {
            tracing::warn!(
                "no client_keys: anyone who reaches the address can spend the provider keys"
            );
        }
        if config.calls_itself() {
            Terminal::stdio().error("an upstream leads back to a listener of this gateway")?;
            return Ok(ExitCode::from(USAGE));
        }
        let gateway = match Gateway::bind(&config, self.listen).await {
            Err(error) if StoreMissing::is_why(&error) => {
                Terminal::stdio().error(&error.to_string())?;
                return Ok(ExitCode::from(USAGE));
            }
            gateway => gateway?,
        };
        for address in gateway.addresses()? {
            tracing::info!(%address, "listening");
        }
        if let Some(address) = gateway.admin_address()? {
            tracing::info!(%address, "the admin API listens");
        }
        gateway.serve(stop, config.limits.drain_timeout).await;
        traces.flush().await;
        drop(local);
        Ok(ExitCode::SUCCESS)
    }

    fn load(&self) -> Result<Config, String> {
        match &self.config {
            Some(file) => Config::load(file, mode(self.upstream.as_ref()))
                .map_err(|errors| errors.to_string()),
            None => Ok(Config::embedded()),
        }
    }
}

impl Provider {
    async fn run(self) -> io::Result<ExitCode> {
        let stop = shutdown::on_signal()?;
        let socket = TcpListener::bind(self.listen).await.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot listen on {}: {error}", self.listen))
        })?;
        tracing::info!(address = %socket.local_addr()?, "listening");
        provider::serve(socket, provider::Options::default(), stop.cancelled_owned()).await;
        Ok(ExitCode::SUCCESS)
    }
}

impl Check {
    fn run(self) -> io::Result<ExitCode> {
        let mut out = Terminal::stdio();
        let mut config = match Config::load(&self.file, mode(self.upstream.as_ref())) {
            Ok(config) => config,
            Err(errors) => {
                out.error(&errors.to_string())?;
                return Ok(ExitCode::FAILURE);
            }
        };
        for warning in &config.warnings {
            out.error(&format!("warning: {warning}"))?;
        }
        if let Some(upstream) = &self.upstream {
            config.replace_upstreams(upstream);
        }
        out.line(&summary(&config).to_string())?;
        Ok(ExitCode::SUCCESS)
    }
}
