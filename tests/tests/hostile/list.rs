//! The lists of hostile inputs and of invariants: no row is left out, and every test is there.

use std::collections::BTreeMap;
use std::path::Path;

const LIST: &str = include_str!("../../../docs/hostile-input.md");
const INVARIANTS: &str = include_str!("../../../docs/invariants.md");
const ROWS: std::ops::RangeInclusive<usize> = 1..=175;

/// Where what the list does not have begins.
const BEYOND: &str = "\nRows of our own";

/// The rows of the table: their numbers, and what answers them.
fn rows() -> Vec<(Vec<usize>, &'static str)> {
    let (list, _) = LIST.split_once(BEYOND).expect("what is beyond the list");
    let lines = list.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| row"));
    lines
        .map(|line| {
            let (numbers, tests) = line[2..].split_once(" | ").expect("two columns");
            let numbers = numbers.split(", ").flat_map(|part| {
                let (from, to) = part.split_once('–').unwrap_or((part, part));
                let number = |text: &str| text.trim().parse::<usize>().expect("a number");
                number(from)..=number(to)
            });
            (numbers.collect(), tests)
        })
        .collect()
}

#[test]
fn every_row_is_answered_once() {
    let mut lines = BTreeMap::<usize, usize>::new();
    for number in rows().into_iter().flat_map(|(numbers, _)| numbers) {
        *lines.entry(number).or_default() += 1;
    }
    let missing: Vec<_> = ROWS.filter(|row| !lines.contains_key(row)).collect();
    let unknown: Vec<_> = lines.keys().filter(|row| !ROWS.contains(row)).collect();
    assert!(missing.is_empty() && unknown.is_empty(), "missing {missing:?}, unknown {unknown:?}");
    let twice: Vec<_> = lines.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// The tests that a text names, as file and function.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::"))
}

/// Checks that each test in `text` exists, and returns how many there are.
fn exist(text: &str, row: &str) -> usize {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let check = |(file, name): (&str, &str)| {
        let file = format!("{file}.rs");
        let here = root.join("tests/tests").join(&file);
        let text = std::fs::read_to_string(if here.exists() { here } else { root.join(&file) });
        let text = text.unwrap_or_else(|error| panic!("{row}: {file}: {error}"));
        assert!(text.contains(&format!("fn {name}(")), "{row}: {file}: {name}");
    };
    named(text).map(check).count()
}

#[test]
fn every_test_that_is_named_exists() {
    let mut count = 0;
    for (numbers, tests) in rows() {
        count += exist(tests, &format!("{numbers:?}"));
        let reason = tests.contains('`') || tests.contains("not applicable: ");
        assert!(reason, "{numbers:?}: neither a test nor a reason");
    }
    assert!(count > 60, "{count}");
    let (_, beyond) = LIST.split_once(BEYOND).expect("what is beyond the list");
    for row in beyond.lines() {
        let is_attack = row.starts_with("| ") && !row.starts_with("| attack");
        assert!(exist(row, row) > 0 || !is_attack, "{row}: no test");
    }
}

#[test]
fn every_invariant_has_its_row_and_the_tests_that_it_names() {
    let rows = INVARIANTS.lines().filter(|line| line.starts_with("| I"));
    let numbers: Vec<_> = rows.clone().map(|row| row.split(' ').nth(1).unwrap()).collect();
    assert_eq!(numbers, (1..=34).map(|number| format!("I{number}")).collect::<Vec<_>>());
    let count: usize = rows.map(|row| exist(row, row)).sum();
    assert!(count > 60, "{count}");
}
