//! The figures as Markdown.

use std::fmt::Write;

use super::load::Sample;
use super::machine;
use super::run::{Outcome, Row, Setup, Table};
use super::stats::median;
use super::verdict::goals;

const BEGIN: &str = "<!-- gateway: begin -->";
const END: &str = "<!-- gateway: end -->";

/// `document` with its part about the gateway replaced by `section`, or with it at its end.
#[must_use]
pub fn insert(document: &str, section: &str) -> String {
    let (before, after) = match (document.split_once(BEGIN), document.split_once(END)) {
        (Some((before, _)), Some((_, after))) => (before, after),
        _ if document.is_empty() => ("# Benchmarks\n\n", "\n"),
        _ => (document, "\n"),
    };
    let gap = if before.ends_with("\n\n") { "" } else { "\n" };
    format!("{before}{gap}{BEGIN}\n{section}{END}{after}")
}

/// The part of the document about the gateway; the plot is beside it at `plot`.
#[must_use]
pub fn section(outcome: &Outcome, setup: &Setup, plot: &str) -> String {
    let mut text = String::from("## The gateway\n\n");
    let Outcome { plan, plain, decisions, streams, .. } = outcome;
    let _ = writeln!(
        text,
        "Made by `tests/bench.sh`, which anyone can run. Each server has {} turns of {} ms in each \
         case, in turns with the others; a ratio is the median of the ratios of such pairs. \
         **direct** is the provider stand-in without a proxy, **floor** a proxy on hyper-util that \
         forwards and does nothing else, **whole** one that in addition holds each body until it is \
         whole, has it checked and puts the model in, as a gateway must; **memory**, **Redis, near copies** and **Redis, none** \
         are the gateway by where sessions are kept (none: `near_copies: false`), every turn pinned. \
         Load generator, stand-in and server share the processors, so requests per second count \
         all three and the processor time per request only the server.\n",
        plan.pairs,
        plan.span.as_millis()
    );
    table(
        &mut text,
        &["", ""],
        machine::rows(&setup.gateway, setup.litellm.as_deref())
            .iter()
            .map(|(name, value)| vec![name.clone(), value.clone()]),
    );
    let _ = writeln!(text, "### Goals\n\nThe worst case of each counts.\n");
    table(
        &mut text,
        &["what", "goal", "measured", ""],
        goals(outcome).iter().map(|goal| {
            let met = if goal.met { "met" } else { "**not met**" };
            vec![goal.what.into(), goal.limit.clone(), format!("{:.3}", goal.reached), met.into()]
        }),
    );
    let _ =
        writeln!(text, "![Requests per second by body and connections, the floor is 1]({plot})\n");

    let rate = |sample: &Sample| sample.rate;
    let cpu = |sample: &Sample| sample.cpu;
    compared(&mut text, "Requests per second", "/s", "floor", plain, rate);
    compared(&mut text, "Processor time per request", "µs", "floor", plain, cpu);
    of_whole(&mut text, plain);
    spread(&mut text, "Latency: p50 / p99 in µs", plain);
    compared(&mut text, "Decision API, requests per second", "/s", "constant", decisions, rate);
    compared(&mut text, "Streams: time to the first event", "µs", "floor", streams, |s| s.p50);
    compared(
        &mut text,
        "Streams: from event made to event read, median",
        "µs",
        "floor",
        streams,
        |sample| sample.delay,
    );
    compared(&mut text, "Streams: processor time per event", "µs", "floor", streams, cpu);
    if let Some(slow) = &outcome.slow {
        let slow = std::slice::from_ref(slow);
        compared(&mut text, "LiteLLM, two workers: requests per second", "/s", "floor", slow, rate);
        spread(&mut text, "LiteLLM: p50 / p99 in µs", slow);
    }
    rest(&mut text, outcome);
    text
}

/// One row for each case: the base in its unit, the others as ratios to it.
fn compared(
    text: &mut String,
    title: &str,
    unit: &str,
    base: &str,
    tables: &[Table],
    value: impl Fn(&Sample) -> f64,
) {
    let Some(first) = tables.first() else { return };
    let others: Vec<&str> =
        first.rows.iter().map(|row| row.name).filter(|name| *name != base).collect();
    let _ = writeln!(text, "### {title}\n\n`{base}` in {unit}, the others as ratios to it.\n");
    let heads = [&["body", "connections", base], others.as_slice()].concat();
    table(
        text,
        &heads,
        tables.iter().map(|table| {
            let own = median(table.samples(base).iter().map(&value));
            let mut cells = case(table);
            cells.push(format!("{own:.*}", usize::from(own < 100.0)));
            let ratios = others.iter().map(|other| table.ratio(other, base, &value));
            cells.extend(ratios.map(|ratio| format!("{ratio:.3}")));
            cells
        }),
    );
}

/// What the gateway makes of what is left when bodies are handled as they must be.
fn of_whole(text: &mut String, tables: &[Table]) {
    let _ = writeln!(text, "### Pinned, memory, as ratios to **whole**\n");
    table(
        text,
        &["body", "connections", "requests per second", "processor time per request"],
        tables.iter().map(|table| {
            let mut cells = case(table);
            let rate = table.ratio("memory", "whole", |sample| sample.rate);
            let cpu = table.ratio("memory", "whole", |sample| sample.cpu);
            cells.extend([rate, cpu].map(|ratio| format!("{ratio:.3}")));
            cells
        }),
    );
}

fn spread(text: &mut String, title: &str, tables: &[Table]) {
    let Some(first) = tables.first() else { return };
    let _ = writeln!(text, "### {title}\n");
    let names: Vec<&str> = first.rows.iter().map(|row| row.name).collect();
    let heads = [&["body", "connections"], names.as_slice()].concat();
    table(
        text,
        &heads,
        tables.iter().map(|table| {
            let mut cells = case(table);
            let of = |row: &Row, value: fn(&Sample) -> f64| median(row.samples.iter().map(value));
            let both =
                |row| format!("{:.0} / {:.0}", of(row, |sample| sample.p50), of(row, |s| s.p99));
            cells.extend(table.rows.iter().map(both));
            cells
        }),
    );
}

fn rest(text: &mut String, outcome: &Outcome) {
    let _ = writeln!(text, "### Checking a body and replacing its model\n");
    table(
        text,
        &["body", "ours, µs", "`serde_json::Value`, µs", "ratio"],
        outcome.readings.iter().map(|reading| {
            let pairs = &reading.pairs;
            vec![
                kib(reading.bytes),
                format!("{:.1}", median(pairs.iter().map(|pair| pair.0))),
                format!("{:.1}", median(pairs.iter().map(|pair| pair.1))),
                format!("{:.3}", median(pairs.iter().map(|(ours, serde)| ours / serde))),
            ]
        }),
    );
    let _ = writeln!(text, "### Resident memory after the last case\n");
    let last = outcome.plain.last().into_iter().flat_map(|table| &table.rows);
    table(
        text,
        &["server", "MiB"],
        last.map(|row| {
            vec![row.name.into(), format!("{:.1}", row.resident as f64 / f64::from(1 << 20))]
        }),
    );
    let all = outcome.plain.iter().chain(&outcome.decisions);
    let failures = |name: &str| -> usize {
        let rows = all.clone().flat_map(|table| &table.rows).filter(|row| row.name == name);
        rows.flat_map(|row| &row.samples).map(|sample| sample.failures).sum()
    };
    let names = outcome.plain.first().into_iter().flat_map(|table| &table.rows);
    let failed: Vec<String> =
        names.map(|row| format!("{} {}", row.name, failures(row.name))).collect();
    let commands = outcome.commands;
    let cold = &outcome.cold;
    let _ = writeln!(
        text,
        "### Further figures\n\n\
         - Answers that were not 2xx: {}.\n\
         - Redis with near copies: {:.0} pinned turns, {} commands about pins.\n\
         - Cold start of the gateway to its first routed and proxied answer: {:.1} ms, the slowest \
         of {} starts {:.1} ms.",
        failed.join(", "),
        commands.turns,
        commands.sent,
        median(cold.iter().copied()),
        cold.len(),
        cold.iter().copied().fold(0.0, f64::max),
    );
}

fn case(table: &Table) -> Vec<String> {
    vec![kib(table.bytes), table.connections.to_string()]
}

pub(super) fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes >> 10)
}

fn table(text: &mut String, heads: &[&str], rows: impl Iterator<Item = Vec<String>>) {
    let _ = writeln!(text, "| {} |\n|{}", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text.push('\n');
}
