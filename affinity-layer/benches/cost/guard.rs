//! The counts that are committed, and whether they still hold.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use crate::counts::{self, Count};
use affinity_benches::Failure;

/// A change by more than this part is reported.
const TOLERANCE: f64 = 0.05;

const HEAD: &str = "\
# What the layer adds to a request: instructions and allocations over the bare inner service.
# Written by: cargo bench -p affinity-benches --bench cost -- --save
";

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "cost", "counts.txt"].iter().collect()
}

/// Writes the counts of this build.
pub(crate) fn save() -> Result<(), Failure> {
    let counts = counts::all()?;
    let mut text = String::from(HEAD);
    for Count { name, over, .. } in counts.iter().filter(|count| is_guarded(count)) {
        writeln!(text, "{name} {:.0} {:.2}", over.instructions, over.allocations)?;
    }
    fs::write(path(), text)?;
    print!("{}", counts::table(&counts));
    println!("written to {}", path().display());
    Ok(())
}

/// The turns that are not routed: a first one changes with every policy, and the router costs more.
fn is_guarded(count: &Count) -> bool {
    ["no-id", "pinned-memory", "pinned-near-copy"].contains(&count.name)
}

/// Compares the counts of this build with the committed ones.
pub(crate) fn check() -> Result<(), Failure> {
    let committed = fs::read_to_string(path())?;
    let counts = counts::all()?;
    print!("{}", counts::table(&counts));
    let (mut worse, mut better) = (String::new(), false);
    for Count { name, over, .. } in counts.iter().filter(|count| is_guarded(count)) {
        let (instructions, allocations) = find(&committed, name)?;
        for (what, before, now) in [
            ("instructions", instructions, over.instructions),
            ("allocations", allocations, over.allocations),
        ] {
            if now > before * (1.0 + TOLERANCE) {
                writeln!(
                    worse,
                    "{name}: {now:.2} {what} over the inner service; committed: {before:.2}"
                )?;
            }
            better |= now < before * (1.0 - TOLERANCE);
        }
    }
    if !worse.is_empty() {
        return Err(format!(
            "\nA request costs more than the committed counts allow (5 %):\n{worse}\
             Find what it is: run valgrind --tool=callgrind on the bench with --run CASE, before \
             and after.\nIf the price is right, commit it with its reason:\n    \
             cargo bench -p affinity-benches --bench cost -- --save\n"
        )
        .into());
    }
    if better {
        println!(
            "\nA request costs less than before. Keep it so, by committing the new counts:\n    \
             cargo bench -p affinity-benches --bench cost -- --save"
        );
    }
    Ok(())
}

fn find(committed: &str, name: &str) -> Result<(f64, f64), Failure> {
    let mut rows = committed.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    match rows.find(|row| row.first() == Some(&name)).as_deref() {
        Some([_, instructions, allocations]) => Ok((instructions.parse()?, allocations.parse()?)),
        _ => Err(format!("no counts are committed for {name}; write them with -- --save").into()),
    }
}
