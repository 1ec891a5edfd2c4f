//! Metrics, as Prometheus reads them.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::{Gateway, get, within};

/// What `/metrics` showed at one moment.
#[derive(Clone, Debug)]
pub struct Scrape(String);

impl Scrape {
    /// Asks a gateway.
    pub async fn of(gateway: &Gateway) -> Self {
        let answer = gateway.ask(&get("/metrics")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let kind = answer.header("content-type").expect("a content type");
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        Self(answer.text())
    }

    /// What is reported elsewhere.
    #[must_use]
    pub fn read(text: String) -> Self {
        Self(text)
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// The names of all metrics.
    #[must_use]
    pub fn names(&self) -> BTreeSet<&str> {
        let types = self.0.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.filter_map(|line| line.split(' ').next()).collect()
    }

    /// The sum of the series of `name` that have all of these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(label, value)| format!("{label}=\"{value}\""));
        let labels = labels.collect::<Vec<_>>();
        let series = self.0.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (inside, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.rsplit_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let matches = labels.iter().all(|label| inside.contains(label.as_str()));
            matches.then(|| value.parse::<f64>().expect("a number"))
        });
        series.sum()
    }
}

/// What `promtool` answers to these arguments and this input; the tool is `AFFINITY_PROMTOOL`, else
/// the one on the path.
///
/// # Panics
///
/// When there is none: `tests/run.sh` brings it.
pub async fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let program = std::env::var_os("AFFINITY_PROMTOOL").unwrap_or(OsString::from("promtool"));
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = child.expect("promtool, which tests/run.sh brings, or Debian's prometheus");
    let mut stdin = child.stdin.take().expect("its input");
    let asked = async {
        // It may know enough before the end.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await.expect("it ends")
    };
    let output = within(asked).await;
    let told = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&told).into_owned())
}
