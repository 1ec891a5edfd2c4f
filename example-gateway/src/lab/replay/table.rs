//! What the policies came to, for people and for programs.

use serde_json::{Value, json};

use super::policy::{Outcome, Policy};
use crate::prices::Picodollars;

const HEAD: [&str; 7] =
    ["policy", "requests", "switches", "prompt tokens", "cached", "spent $", "against always"];

/// The table as lines of one width: its head, and one for each policy.
#[must_use]
pub fn lines(outcomes: &[Outcome]) -> Vec<String> {
    let head = HEAD.map(str::to_owned);
    let always = outcomes.iter().find(|outcome| outcome.policy == Policy::Always);
    let always = always.map(|outcome| outcome.cost.spent).unwrap_or_default();
    let rows = outcomes.iter().map(|outcome| row(outcome, always));
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let mut widths = [0; HEAD.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; HEAD.len()]| {
        let cells = row.iter().zip(widths).enumerate().map(|(place, (cell, width))| match place {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ")
    };
    rows.iter().map(line).collect()
}

fn row(outcome: &Outcome, always: Picodollars) -> [String; HEAD.len()] {
    let policy = match outcome.policy {
        Policy::Never => "never",
        Policy::Always => "always",
        Policy::Cost => "cost",
    };
    [
        policy.to_owned(),
        outcome.requests.to_string(),
        outcome.switches.to_string(),
        outcome.prompt_tokens.to_string(),
        tenths(outcome.cached_tokens, outcome.prompt_tokens)
            .map_or_else(|| "-".to_owned(), |(whole, tenth)| format!("{whole}.{tenth} %")),
        cents(outcome.cost.spent),
        against(outcome.cost.spent, always),
    ]
}

/// Dollars, rounded to a ten thousandth.
fn cents(amount: Picodollars) -> String {
    let rounded = amount.get().saturating_add(50_000_000) / 100_000_000;
    format!("{}.{:04}", rounded / 10_000, rounded % 10_000)
}

/// How much more or less than `always`, in percent.
fn against(spent: Picodollars, always: Picodollars) -> String {
    let (sign, difference) = match spent >= always {
        true => ("+", spent.minus(always)),
        false => ("-", always.minus(spent)),
    };
    match tenths(difference.get(), always.get()) {
        Some((0, 0)) => "0.0 %".to_owned(),
        Some((whole, tenth)) => format!("{sign}{whole}.{tenth} %"),
        None => "-".to_owned(),
    }
}

/// A percentage and its tenth, rounded; `None` if there is no whole.
fn tenths(part: u64, whole: u64) -> Option<(u128, u128)> {
    let half = u128::from(whole / 2);
    let tenths = (u128::from(part) * 1000 + half).checked_div(u128::from(whole))?;
    Some((tenths / 10, tenths % 10))
}

/// The outcomes as JSON.
#[must_use]
pub fn json(outcomes: &[Outcome]) -> Value {
    json!({"policies": outcomes})
}
