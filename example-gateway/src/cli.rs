//! The command line.
//!
//! `main` parses a [`Cli`] and runs it. The doc comments of the structs here are what `--help` prints. Each
//! command starts the logging that it needs, and the last log lines are written before the process ends.
//! Without a command the program serves, so that a container needs no arguments.

mod check;
mod demo;
mod file;
mod replay;
pub mod report;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use http::Uri;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use uuid::Uuid;

use self::check::Check;
use self::demo::Demo;
use self::file::configured_file;
use self::replay::Replay;
use crate::config::{self, Config, ForwardProxies, Mode, http_base, socket_address};
use crate::edge::shutdown;
use crate::gateway::{Gateway, Inherited, Reloads};
use crate::lab::exit::{USAGE, code};
use crate::lab::local::Local;
use crate::lab::term::Terminal;
use crate::lab::{provider, verify};
use crate::stack::sessions::StoreMissing;
use crate::telemetry::{self, LogFormat, Traces};

/// An LLM gateway that keeps one session on one model.
#[derive(Debug, Parser)]
#[command(version = env!("AFFINITY_VERSION"))]
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
    /// Serve requests; the default without a command.
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
    /// Compute what pins would have cost or saved on a trace of requests.
    Replay(Replay),
    /// Print a script that completes commands and options in a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

#[derive(Args, Debug, Default, PartialEq)]
struct Serve {
    /// The configuration file; without it, the one that AFFINITY_CONFIG names, else an embedded
    /// configuration with the simulated provider.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to listen, instead of the configured listeners.
    #[arg(long, value_name = "ADDR", value_parser = socket_address)]
    listen: Option<SocketAddr>,
    /// Send the calls of all providers to one base URL, without keys.
    #[arg(long, value_name = "URL", value_parser = http_base)]
    upstream: Option<Uri>,
    /// Log one line for each request when its answer is over.
    #[arg(long)]
    access_log: bool,
}

#[derive(Args, Debug)]
struct Verify {
    /// The gateway to check.
    #[arg(long, default_value = "http://127.0.0.1:12000")]
    url: String,
    /// Sessions to check.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    sessions: u16,
    /// Requests in each session.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// The requested model.
    #[arg(long, default_value = verify::MODEL)]
    model: String,
    /// A client key of the gateway, sent as a bearer token.
    #[arg(long, value_name = "KEY", env = "AFFINITY_CLIENT_KEY", hide_env_values = true)]
    key: Option<SecretString>,
}

#[derive(Args, Debug)]
struct Provider {
    /// Where to listen.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:12001", value_parser = socket_address)]
    listen: SocketAddr,
}

#[derive(Args, Debug)]
struct Report {
    /// The gateway's admin listener.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:12002", value_parser = http_base)]
    url: Uri,
    /// Its token.
    #[arg(long, value_name = "TOKEN", env = "AFFINITY_ADMIN_TOKEN", hide_env_values = true)]
    token: SecretString,
    /// Print the answer unchanged.
    #[arg(long)]
    json: bool,
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
        let log = |lines| telemetry::start(self.log_format, lines, &Traces::default(), false);
        match &command {
            // Its configuration says where traces go, so it starts both itself.
            Command::Serve(_) => {}
            Command::Demo(_) | Command::Verify(_) | Command::Report(_) => log("warn")?,
            Command::Provider(_) | Command::Check(_) => log(telemetry::LINES)?,
            Command::Replay(_) | Command::Completions { .. } => {}
        }
        match command {
            Command::Serve(serve) => serve.run(self.log_format).await,
            Command::Demo(demo) => demo.run().await,
            Command::Verify(verify) => verify.run().await,
            Command::Provider(provider) => provider.run().await,
            Command::Check(check) => {
                let Some(file) = check.named() else {
                    let text = "name a configuration: check FILE, --config or AFFINITY_CONFIG";
                    Self::command().error(ErrorKind::MissingRequiredArgument, text).exit()
                };
                check.run(&file)
            }
            Command::Report(Report { url, token, json }) => {
                Ok(code(report::run(&url, &token, json, &mut Terminal::stdio()).await?))
            }
            Command::Replay(replay) => replay.run(),
            Command::Completions { shell } => {
                let name = env!("CARGO_PKG_NAME");
                clap_complete::generate(shell, &mut Self::command(), name, &mut io::stdout());
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Serve {
    async fn run(mut self, log_format: LogFormat) -> io::Result<ExitCode> {
        self.config = configured_file(self.config);
        let hung_up = self.config.as_ref().map(|_| Arc::<Notify>::default());
        let stop = match hung_up.clone() {
            Some(hung_up) => shutdown::on_signal_with(hung_up)?,
            None => shutdown::on_signal()?,
        };
        let inherited = Inherited::from_environment()?;
        let mut config = match self.read() {
            Ok(config) => config,
            Err(errors) => {
                Terminal::stdio().error(&errors.join("\n"))?;
                return Ok(ExitCode::from(USAGE));
            }
        };
        let traces = Traces::new(&config.tracing)?;
        telemetry::start(log_format, telemetry::LINES, &traces, self.access_log)?;
        let mut local = None;
        if self.upstream.is_none() && self.config.is_none() {
            let provider = Local::provider().await?;
            tracing::info!(address = %provider.address(), "simulated provider: no model is called");
            config.replace_upstreams(&provider.url());
            local = Some(provider);
        }
        self.warn_of(&config);
        let proxies = config.called_through().into_iter();
        let proxies = proxies.map(|(proxy, called)| (proxy.to_string(), called.join(", ")));
        let proxies: Vec<_> = proxies.collect();
        let gateway = match Gateway::bind(config, inherited).await {
            Err(error) if StoreMissing::is_why(&error) => {
                Terminal::stdio().error(&error.to_string())?;
                return Ok(ExitCode::from(USAGE));
            }
            gateway => gateway?,
        };
        for (proxy, called) in proxies {
            tracing::info!(proxy, called, "calls go through a proxy");
        }
        for address in gateway.addresses()? {
            tracing::info!(%address, "listening");
        }
        if let Some(address) = gateway.admin_address()? {
            tracing::info!(%address, "the admin API listens");
        }
        let reloads = hung_up.map(|hung_up| {
            Reloads::new(hung_up, move || self.read().inspect(|config| self.warn_of(config)))
        });
        gateway.serve(stop, reloads).await;
        traces.flush().await;
        drop(local);
        Ok(ExitCode::SUCCESS)
    }

    /// The configuration as it is to be served, or all that is wrong with it.
    fn read(&self) -> Result<Config, Vec<String>> {
        let mut config = match &self.config {
            Some(file) => Config::load(file, Mode::with(self.upstream.as_ref()))
                .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>())?,
            None => Config::embedded(),
        };
        if let Some(upstream) = &self.upstream {
            config.replace_upstreams(upstream);
        }
        if let Some(address) = self.listen {
            config.listen_on(address);
        }
        config.access_log = self.access_log;
        // The simulated provider is in this process.
        if self.config.is_some() || self.upstream.is_some() {
            config.call_through(ForwardProxies::from_environment())?;
        }
        match config.calls_itself() {
            true => Err(vec!["an upstream leads back to a listener of this gateway".to_owned()]),
            false => Ok(config),
        }
    }

    fn warn_of(&self, config: &Config) {
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        for advice in config::advice(config) {
            tracing::warn!("{advice}");
        }
        // Of one that the file has opened, it warns itself.
        if self.listen.is_some() && config.is_open() {
            tracing::warn!(
                "no client_keys: anyone who reaches the address can spend the provider keys"
            );
        }
    }
}

impl Verify {
    async fn run(self) -> io::Result<ExitCode> {
        let plan = verify::Plan {
            url: self.url,
            model: self.model,
            key: self.key,
            sessions: self.sessions.into(),
            rounds: self.rounds.into(),
            // A session of an earlier run would be pinned from its first round on.
            suffix: format!("-{:08x}", Uuid::new_v4().as_fields().0),
        };
        Ok(code(verify::run(&plan, &mut Terminal::stdio()).await?))
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
