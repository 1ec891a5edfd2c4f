//! What the gateway reports about its work: log lines on stderr, traces to a collector, metrics.
//!
//! Each has its own way to fail, and none of them may cost a request: log lines are dropped when their reader
//! stalls, spans when their queue is full, and metrics are counted here until somebody reads them.

pub(crate) mod access;
pub(crate) mod context;
mod exporter;
pub(crate) mod log;
pub(crate) mod metrics;
mod traces;

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use self::log::Log;
pub(crate) use self::traces::Traces;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The lines that are written by default. The Redis client writes one line for each call that was under
/// way on a lost connection; the store reports the loss once.
pub(crate) const LINES: &str = "info,fred=error";

/// The libraries below us: what they say at DEBUG would bury our own lines.
const LIBRARIES: [&str; 7] = ["fred", "h2", "hyper", "hyper_util", "rustls", "tonic", "tower"];

/// Starts logging, and tracing where `traces` go anywhere. `RUST_LOG` filters log lines; without
/// it, `default` does. The access log, if it is on, is written in any case.
///
/// # Errors
///
/// When the system gives no thread to write them.
pub(crate) fn start(
    format: LogFormat,
    default: &str,
    traces: &Traces,
    access_log: bool,
) -> io::Result<()> {
    let named = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let filter = filter(named.as_deref(), default, access_log);
    let log = Log::to_stderr()?;
    subscriber(format, filter, &log, traces).init();
    log::install(log);
    Ok(())
}

/// `named`, or `default` if that is nothing a filter could be made of. Libraries are kept at INFO, unless
/// they are named.
fn filter(named: Option<&str>, default: &str, access_log: bool) -> EnvFilter {
    let named = named.filter(|text| !text.trim().is_empty() && EnvFilter::try_new(text).is_ok());
    let mut text = named.unwrap_or(default).to_owned();
    let parts: Vec<_> = text.split(',').map(|part| part.trim().to_ascii_lowercase()).collect();
    let names = |name: &str| parts.iter().any(|part| part.starts_with(name));
    if parts.iter().any(|part| part == "debug" || part == "trace") {
        let quiet = LIBRARIES.iter().filter(|library| !names(library));
        quiet.for_each(|library| text.push_str(&format!(",{library}=info")));
    }
    if access_log && !names(access::TARGET) {
        text.push_str(&format!(",{}=info", access::TARGET));
    }
    EnvFilter::new(text)
}

fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    log: &Log,
    traces: &Traces,
) -> impl Subscriber + Send + Sync + for<'a> LookupSpan<'a> + use<> {
    let lines = lines(format, log.clone()).with_filter(filter);
    tracing_subscriber::registry().with(lines).with(traces.layer())
}

fn lines<S>(format: LogFormat, log: Log) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    // An error here would be written to stderr by the thread that logs.
    let layer = fmt::layer().log_internal_errors(false);
    let layer = layer.with_ansi(io::stderr().is_terminal()).with_writer(log);
    match format {
        LogFormat::Text => layer.boxed(),
        LogFormat::Json => layer.json().boxed(),
    }
}

#[cfg(test)]
mod tests {
    use tracing::level_filters::LevelFilter;

    use super::*;
    use crate::config::Tracing;

    fn costs(traces: &Traces) -> (bool, LevelFilter) {
        let log = Log::to_stderr().unwrap();
        let subscriber = subscriber(LogFormat::Text, EnvFilter::new("info"), &log, traces);
        tracing::subscriber::with_default(subscriber, || {
            (!tracing::debug_span!("request").is_disabled(), LevelFilter::current())
        })
    }

    /// Whether lines of each target at each level are written.
    fn written(named: &str, access_log: bool) -> [bool; 5] {
        let filter = filter(Some(named), LINES, access_log);
        let subscriber = tracing_subscriber::registry().with(filter);
        tracing::subscriber::with_default(subscriber, || {
            [
                tracing::enabled!(target: "example_gateway", tracing::Level::DEBUG),
                tracing::enabled!(target: "hyper::proto", tracing::Level::DEBUG),
                tracing::enabled!(target: "h2", tracing::Level::DEBUG),
                tracing::enabled!(target: "rustls", tracing::Level::WARN),
                tracing::enabled!(target: "access", tracing::Level::INFO),
            ]
        })
    }

    #[test]
    fn debug_means_our_lines_and_those_of_libraries_only_if_they_are_named() {
        assert_eq!(written("debug", false), [true, false, false, true, true]);
        assert_eq!(written("debug,h2=trace", false), [true, false, true, true, true]);
        assert_eq!(written("", false), [false, false, false, true, true]);
    }

    #[test]
    fn the_access_log_is_written_whatever_the_filter_says_of_other_lines() {
        assert_eq!(written("error", false), [false; 5]);
        assert_eq!(written("error", true), [false, false, false, false, true]);
        assert_eq!(written("info,access=off", true), [false, false, false, true, false]);
    }

    #[tokio::test]
    async fn spans_are_made_only_where_they_go_somewhere() {
        assert_eq!(costs(&Traces::default()), (false, LevelFilter::INFO));
        let endpoint = Some("http://127.0.0.1:1".parse().unwrap());
        let silent = Tracing { random_sampling: 0.0, endpoint, ..Tracing::default() };
        assert_eq!(costs(&Traces::new(&silent).unwrap()), (false, LevelFilter::INFO));
        let traces = Traces::new(&Tracing { random_sampling: 1.0, ..silent }).unwrap();
        assert_eq!(costs(&traces), (true, LevelFilter::DEBUG));
        traces.flush().await;
    }
}
