//! `replay`: what pins would have cost or saved on a trace.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use affinity_layer::mode::Share;
use clap::Args;

use crate::config::{Config, Mode};
use crate::lab::exit::{USAGE, code};
use crate::lab::replay::{self, Models, Rules, Workload};
use crate::lab::term::{Style, Terminal};

const NOTES: [&str; 4] = [
    "never: the router's choice for each request; always: its first choice while the session is used",
    "cost: as always, but the session moves where a turn of the user begins if that is cheaper",
    "switches: requests that another model answered than the session's previous one",
    "cached: share of the prompt tokens, by a model of provider caches",
];

#[derive(Args, Debug)]
pub(super) struct Replay {
    /// The trace, one JSON object a line; - reads the standard input.
    #[arg(required_unless_present = "generate", conflicts_with = "generate")]
    trace: Option<PathBuf>,
    /// A configuration whose prices count before those of well-known models.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How long a pin lives after its last use.
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    session_ttl_seconds: u64,
    /// What the moves of a session may cost, of what it has spent.
    #[arg(long, value_name = "SHARE", default_value = "10%")]
    max_switch_share: Share,
    /// Providers cache no prompt with fewer tokens.
    #[arg(long, value_name = "TOKENS", default_value_t = 1024)]
    cache_min_tokens: u64,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// Print a trace of this kind instead, the same for the same seed.
    #[arg(long, value_name = "WORKLOAD", value_enum)]
    generate: Option<Workload>,
    /// What the generated trace is drawn from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, requires = "generate")]
    seed: u64,
    /// Sessions of the generated trace.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, requires = "generate",
        value_parser = clap::value_parser!(u32).range(1..=10_000))]
    sessions: u32,
}

impl Replay {
    pub(super) fn run(self) -> io::Result<ExitCode> {
        let mut out = Terminal::stdio();
        if let Some(workload) = self.generate {
            for call in replay::generate(workload, self.seed, self.sessions) {
                out.line(&call.line())?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        let config =
            match self.config.as_ref().map(|file| Config::load(file, Mode::UpstreamOverride)) {
                Some(Err(errors)) => {
                    out.error(&errors.to_string())?;
                    return Ok(ExitCode::from(USAGE));
                }
                Some(Ok(config)) => Some(config),
                None => None,
            };
        let trace = self.trace.unwrap_or_default();
        let input: Box<dyn BufRead> = if trace.as_os_str() == "-" {
            Box::new(io::stdin().lock())
        } else {
            match File::open(&trace) {
                Ok(file) => Box::new(BufReader::new(file)),
                Err(error) => {
                    out.error(&format!("replay: {}: {error}", trace.display()))?;
                    return Ok(code(false));
                }
            }
        };
        let rules = Rules {
            session_ttl: Duration::from_secs(self.session_ttl_seconds),
            max_switch_share: self.max_switch_share,
            cache_min_tokens: self.cache_min_tokens,
        };
        let outcomes = match replay::play(input, &rules, &mut Models::new(config)) {
            Ok(outcomes) => outcomes,
            Err(error) => {
                out.error(&format!("replay: {}: {error}", trace.display()))?;
                return Ok(code(false));
            }
        };
        if self.json {
            out.line(&replay::json(&outcomes).to_string())?;
            return Ok(ExitCode::SUCCESS);
        }
        for (place, line) in replay::lines(&outcomes).iter().enumerate() {
            out.line(&if place == 0 { out.paint(Style::Bold, line) } else { line.clone() })?;
        }
        out.line("")?;
        for note in NOTES {
            out.line(&out.paint(Style::Dim, note))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
