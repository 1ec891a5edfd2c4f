//! The ledger of a running gateway, for people to read.

mod table;

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::Uri;
use secrecy::SecretString;

use self::table::Table;
use crate::lab::client::{self, ClientError};
use crate::lab::term::{Style, Terminal, clean};
use crate::ops::ledger::observed::ObservedSums;
use crate::ops::ledger::rows::{LedgerReport, Row, ShareRow};
use crate::prices::Picodollars;
use crate::stack::turns::turn::Group;

/// Where the ledger is, on the admin listener.
const PATH: &str = "/admin/v1/ledger";

const BY_MODEL: [&str; 8] =
    ["model", "turns", "pinned", "switches", "prompt tokens", "cached", "output tokens", "unknown"];

const BY_ROUTE: [&str; 8] =
    ["route", "turns", "pinned", "router calls", "saved", "router ms", "saved ms*", "regret"];

const COSTS: [&str; 7] = [
    "spent $",
    "pinned $",
    "others $",
    "saved by cache $",
    "pinned cached",
    "others cached",
    "unknown cost",
];

const GROUPS: [&str; 8] = [
    "sessions",
    "turns",
    "switches",
    "a turn",
    "router calls",
    "prompt tokens",
    "cached",
    "spent $",
];

const OBSERVED: [&str; 8] = [
    "observed",
    "turns",
    "switches",
    "with pins*",
    "cached tokens",
    "with pins*",
    "spent $",
    "with pins*",
];

const NOTES: [&str; 6] = [
    "cached: share of the prompt tokens; unknown: turns of which the provider did not tell the prompt",
    "saved by cache: how much more the cached tokens would have cost as plain input",
    "unknown cost: turns whose model has no known price, or of which a count is not known; they add nothing",
    "with pins*: what the observed sessions would have had, as an estimate",
    "* an estimate: the calls saved, at the mean time of those made",
    "regret: of the pinned turns that were routed once more, those that would have got another model",
];

/// Prints the ledger of the gateway whose admin listener is at `base`; with `raw`, the answer as it
/// came. Gives whether there is one to print.
///
/// # Errors
///
/// Those of the output stream. If the gateway returns no ledger, the error stream says so, and the
/// result is `false`.
pub async fn run(
    base: &Uri,
    token: &SecretString,
    raw: bool,
    out: &mut Terminal,
) -> io::Result<bool> {
    match read(base, token).await {
        Ok((answer, _)) if raw => out.line(&answer)?,
        Ok((_, answer)) => print(base, &answer, out)?,
        Err(error) => {
            out.error(&format!("report: {error}"))?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// The answer as text, and what it says.
async fn read(base: &Uri, token: &SecretString) -> Result<(String, LedgerReport), ClientError> {
    let url = format!("{}{PATH}", base.to_string().trim_end_matches('/'));
    let body = client::get(&url, token).await?;
    let unread = |_| ClientError::Body("it is not a ledger in JSON".to_owned());
    let answer = serde_json::from_slice(&body).map_err(unread)?;
    Ok((clean(&String::from_utf8_lossy(&body)), answer))
}

fn print(base: &Uri, answer: &LedgerReport, out: &mut Terminal) -> io::Result<()> {
    let since = UNIX_EPOCH + Duration::from_millis(answer.since);
    let age = SystemTime::now().duration_since(since).unwrap_or_default();
    out.line(&format!("{base}, the last {}", span(age)))?;
    let mut models = Table::new(BY_MODEL);
    for model in &answer.models {
        models.row(&clean(&model.model), by_model(&model.row));
    }
    show(&models, by_model(&answer.totals), out)?;
    let mut routes = Table::new(BY_ROUTE);
    for route in &answer.routes {
        let name = route.route.as_deref().unwrap_or("(no route)");
        routes.row(&clean(name), by_route(&route.row));
    }
    show(&routes, by_route(&answer.totals), out)?;
    let mut models = Table::new(costs_by("model"));
    for model in &answer.models {
        models.row(&clean(&model.model), costs(&model.row));
    }
    show(&models, costs(&answer.totals), out)?;
    let mut routes = Table::new(costs_by("route"));
    for route in &answer.routes {
        let name = route.route.as_deref().unwrap_or("(no route)");
        routes.row(&clean(name), costs(&route.row));
    }
    show(&routes, costs(&answer.totals), out)?;
    if answer.totals.observed.turns > 0 {
        side_by_side(answer, out)?;
    }
    out.line("")?;
    NOTES.iter().try_for_each(|note| out.line(&out.paint(Style::Dim, note)))
}

/// The sessions that are pinned beside those that are observed, and what pins would have done by route.
fn side_by_side(answer: &LedgerReport, out: &mut Terminal) -> io::Result<()> {
    let mut groups = Table::new(GROUPS);
    for group in &answer.groups {
        let name = match group.group {
            Group::Enforced => "pinned",
            Group::Observed => "observed",
            Group::None => "(no session)",
        };
        groups.row(name, by_group(&group.row));
    }
    show(&groups, by_group(&answer.totals), out)?;
    let mut routes = Table::new(OBSERVED);
    for route in answer.routes.iter().filter(|route| route.row.observed.turns > 0) {
        let name = route.route.as_deref().unwrap_or("(no route)");
        routes.row(&clean(name), observed(&route.row.observed));
    }
    show(&routes, observed(&answer.totals.observed), out)
}

fn by_group(row: &Row) -> [String; 7] {
    let tokens = &row.all.tokens;
    [
        grouped(row.all.turns),
        grouped(row.switches),
        share(row.switches, row.all.turns),
        grouped(row.router.calls),
        grouped(tokens.prompt),
        share(tokens.cached, tokens.prompt),
        dollars(row.all.cost.spent),
    ]
}

fn observed(sums: &ObservedSums) -> [String; 7] {
    [
        grouped(sums.turns.saturating_sub(sums.unknown)),
        grouped(sums.switches),
        grouped(sums.switches_with_pins),
        grouped(sums.cached),
        grouped(sums.cached_with_pins),
        dollars(sums.spent),
        dollars(sums.spent_with_pins),
    ]
}

fn show(table: &Table, totals: [String; 7], out: &mut Terminal) -> io::Result<()> {
    let (head, rows, last) = table.lines(totals);
    out.line("")?;
    out.line(&out.paint(Style::Bold, &head))?;
    rows.iter().try_for_each(|row| out.line(row))?;
    out.line(&out.paint(Style::Bold, &last))
}

fn by_model(row: &Row) -> [String; 7] {
    let tokens = &row.all.tokens;
    [
        grouped(row.all.turns),
        grouped(row.pinned_turns),
        grouped(row.switches),
        grouped(tokens.prompt),
        share(tokens.cached, tokens.prompt),
        grouped(tokens.output),
        grouped(row.all.turns_without.prompt),
    ]
}

fn by_route(row: &Row) -> [String; 7] {
    let router = &row.router;
    let regret = row.regret.unwrap_or_default();
    let judged = regret.agreed.saturating_add(regret.otherwise);
    [
        grouped(row.all.turns),
        grouped(row.pinned_turns),
        grouped(router.calls),
        grouped(router.calls_saved),
        millis(router.time_us),
        router.time_saved_us.map_or_else(|| "-".to_owned(), millis),
        share(regret.otherwise, judged),
    ]
}

fn costs_by(name: &'static str) -> [&'static str; 8] {
    let [a, b, c, d, e, f, g] = COSTS;
    [name, a, b, c, d, e, f, g]
}

fn costs(row: &Row) -> [String; 7] {
    let cached = |part: &ShareRow| share(part.tokens.cached, part.tokens.prompt);
    [
        dollars(row.all.cost.spent),
        dollars(row.pinned.cost.spent),
        dollars(row.unpinned.cost.spent),
        dollars(row.all.cost.saved_by_cache),
        cached(&row.pinned),
        cached(&row.unpinned),
        grouped(row.all.turns_without.cost),
    ]
}

/// Dollars, rounded to a millionth.
fn dollars(amount: Picodollars) -> String {
    let millionths = amount.get().saturating_add(500_000) / 1_000_000;
    format!("{}.{:06}", grouped(millionths / 1_000_000), millionths % 1_000_000)
}

/// A percentage, rounded; a dash if there is no whole.
fn share(part: u64, whole: u64) -> String {
    let half = u128::from(whole / 2);
    let share = (u128::from(part) * 100 + half).checked_div(u128::from(whole));
    share.map_or_else(|| "-".to_owned(), |share| format!("{share} %"))
}

/// Milliseconds out of microseconds, to a tenth.
fn millis(micros: u64) -> String {
    let tenths = micros.saturating_add(50) / 100;
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}

/// A number with a space after each three digits from the right.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn span(time: Duration) -> String {
    let minutes = time.as_secs() / 60;
    match (minutes / (24 * 60), minutes / 60 % 24, minutes % 60) {
        (0, 0, 0) => format!("{} s", time.as_secs()),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
