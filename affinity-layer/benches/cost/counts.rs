//! Counting with callgrind, and reading what it wrote.

use std::env;
use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};

use crate::TIMES;
use crate::cases::Case;
use affinity_benches::Failure;

/// How often a case may fail.
const ATTEMPTS: usize = 5;

/// The cost of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    pub(crate) instructions: f64,
    pub(crate) allocations: f64,
}

impl Cost {
    fn over(self, floor: Self) -> Self {
        Self {
            instructions: self.instructions - floor.instructions,
            allocations: self.allocations - floor.allocations,
        }
    }
}

/// A name, the cost of a request, and what of it is not the inner service's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) name: &'static str,
    pub(crate) cost: Cost,
    pub(crate) over: Cost,
}

/// Counts every case.
pub(crate) fn all() -> Result<Vec<Count>, Failure> {
    let costs: Vec<Cost> = Case::ALL.into_iter().map(of).collect::<Result<_, _>>()?;
    let cost = |wanted| {
        let mut both = Case::ALL.into_iter().zip(&costs);
        both.find(|(case, _)| *case == wanted).map(|(_, cost)| *cost).unwrap_or_default()
    };
    let count = |name, cost: Cost, floor| Count { name, cost, over: cost.over(floor) };
    let mut counts = vec![count(Case::Bare.name(), cost(Case::Bare), cost(Case::Bare))];
    for case in [Case::NoIdFloor, Case::NoId] {
        counts.push(count(case.name(), cost(case), cost(Case::Bare)));
    }
    for case in
        [Case::BareWithId, Case::PinnedFloor, Case::PinnedMemory, Case::PinnedNear, Case::Miss]
    {
        counts.push(count(case.name(), cost(case), cost(Case::BareWithId)));
    }
    let joined = cost(Case::Pair).over(cost(Case::Miss));
    counts.push(count("joined", joined, cost(Case::BareWithId)));
    Ok(counts)
}

pub(crate) fn table(counts: &[Count]) -> String {
    let mut table = String::from(
        "| request | instructions | over the inner service | allocations | over the inner service |\n\
         |---|---:|---:|---:|---:|\n",
    );
    for Count { name, cost, over } in counts {
        let Cost { instructions, allocations } = cost;
        // Writing to a string cannot fail.
        let _ = writeln!(
            table,
            "| {name} | {instructions:.0} | {:+.0} | {allocations:.2} | {:+.2} |",
            over.instructions, over.allocations
        );
    }
    table
}

/// The cost of one request of a case.
fn of(case: Case) -> Result<Cost, Failure> {
    // A copy that grew stale on a busy machine is not a hit, and the case fails.
    (1..ATTEMPTS).find_map(|_| counted(case).ok()).map_or_else(|| counted(case), Ok)
}

fn counted(case: Case) -> Result<Cost, Failure> {
    let file = env::temp_dir().join(format!("affinity-cost-{}", std::process::id()));
    let counted = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*cost*::measured*", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(env::current_exe()?)
        .args(["--run", case.name()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind does not start: {error}; install it to count"))?;
    let written = fs::read_to_string(&file);
    // It stays only if it never was.
    let _ = fs::remove_file(&file);
    if !counted.status.success() {
        return Err(String::from_utf8_lossy(&counted.stderr).into());
    }
    read(&written?)
}

/// Reads a profile: the sum over all functions, and how often an allocator was called.
fn read(profile: &str) -> Result<Cost, Failure> {
    const ALLOCATORS: [&str; 6] =
        ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

    let mut callee = "";
    let (mut instructions, mut allocations) = (None, 0);
    for line in profile.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            callee = name;
        } else if let Some(calls) = line.strip_prefix("calls=") {
            if ALLOCATORS.contains(&callee) {
                allocations += calls.split(' ').next().unwrap_or_default().parse::<u32>()?;
            }
        } else if let Some(total) = line.strip_prefix("totals: ") {
            instructions = Some(total.trim().parse::<u32>()?);
        }
    }
    let instructions =
        instructions.filter(|count| *count > 0).ok_or("callgrind counted nothing")?;
    let times = f64::from(u32::try_from(TIMES)?);
    // Calls are counted while the case warms up, too.
    let allocations = f64::from(allocations) / (2.0 * times);
    Ok(Cost { instructions: f64::from(instructions) / times, allocations })
}
