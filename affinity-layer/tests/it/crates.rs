//! The page of costs says what cargo says.

use std::collections::BTreeSet;
use std::process::Command;

/// Counts the crates that the library needs with `features`; `None` outside of the repository.
fn crates(features: &str) -> Option<usize> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--offline", "--package", "affinity-layer", "--edges", "normal"])
        .args(["--target", "x86_64-unknown-linux-gnu", "--no-dedupe", "--prefix", "none"])
        .args(["--format", "{p}", "--no-default-features", "--features", features])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()
        .filter(|tree| tree.status.success())?;
    let tree = String::from_utf8(tree.stdout).ok()?;
    let name = |line: &str| line.split(" (").next().map(str::to_owned);
    let crates: BTreeSet<_> = tree.lines().filter_map(name).collect();
    Some(crates.iter().filter(|name| !name.starts_with("affinity-layer ")).count())
}

#[test]
fn the_page_of_costs_says_what_cargo_says() {
    let page = include_str!("../../src/guide/costs.rs");
    for line in page.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let mut cells = line.split(" | ");
        let (Some(features), Some(Ok(told))) =
            (cells.next(), cells.next().map(str::parse::<usize>))
        else {
            continue;
        };
        let features = if features == "none" { "" } else { features.trim_matches('`') };
        if let Some(counted) = crates(features) {
            assert_eq!(told, counted, "{features:?}");
        }
    }
}
