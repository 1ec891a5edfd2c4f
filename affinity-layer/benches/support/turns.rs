//! Measuring several things in turns, so that a busy moment hits all of them.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

/// Work for one thread: its number, and how often to do it.
pub type Work = Arc<dyn Fn(usize, usize) + Send + Sync>;

/// Something that is measured.
pub struct Subject {
    /// What it is called.
    pub name: String,
    /// How many threads do it at a time.
    pub threads: usize,
    /// What they do.
    pub work: Work,
}

impl std::fmt::Debug for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The median time of one operation of each subject, all threads together, over `rounds` in turns.
#[must_use]
pub fn medians(subjects: &[Subject], rounds: usize, times: usize) -> Vec<Duration> {
    let mut taken = vec![Vec::new(); subjects.len()];
    // The first round warms up.
    for round in 0..=rounds {
        for (subject, taken) in subjects.iter().zip(&mut taken) {
            let each = once(subject, times);
            if round > 0 {
                taken.push(each);
            }
        }
    }
    let median = |mut taken: Vec<Duration>| {
        taken.sort_unstable();
        taken.get(taken.len() / 2).copied().unwrap_or_default()
    };
    taken.into_iter().map(median).collect()
}

fn once(subject: &Subject, times: usize) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for thread in 1..subject.threads {
            scope.spawn(move || (subject.work)(thread, times));
        }
        (subject.work)(0, times);
    });
    let operations = u32::try_from(times * subject.threads).unwrap_or(u32::MAX);
    began.elapsed() / operations.max(1)
}
