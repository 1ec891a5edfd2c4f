//! What the gateway tells about its work: log lines on stderr, traces to a collector, metrics.

pub(crate) mod context;
mod exporter;
pub(crate) mod metrics;
mod traces;

use std::io::IsTerminal;

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

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

/// The lines that are written unless told otherwise. Of a lost connection the Redis client writes one for
/// each call that was under way; the store tells of it once.
pub(crate) const LINES: &str = "info,fred=error";

/// Starts logging, and tracing where `traces` go anywhere. `RUST_LOG` filters log lines; without
/// it, `default` does.
pub(crate) fn start(format: LogFormat, default: &str, traces: &Traces) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    subscriber(format, filter, traces).init();
}

fn subscriber(
    format: LogFormat,
    filter: EnvFilter,
    traces: &Traces,
) -> impl Subscriber + Send + Sync + for<'a> LookupSpan<'a> + use<> {
    let lines = lines(format).with_filter(filter);
    tracing_subscriber::registry().with(lines).with(traces.layer())
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let layer =
        fmt::layer().with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr);
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
        let subscriber = subscriber(LogFormat::Text, EnvFilter::new("info"), traces);
        tracing::subscriber::with_default(subscriber, || {
            (!tracing::debug_span!("request").is_disabled(), LevelFilter::current())
        })
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
