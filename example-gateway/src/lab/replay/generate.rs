//! Traces of agents that never ran: deterministic, so that figures can be repeated and published.
//!
//! The shapes are those of recorded sessions: a long common beginning of tools and instructions, prompts that
//! grow with each answer and each result of a tool, pauses of seconds in a loop and of minutes between turns of
//! the user. A router that is asked for each request changes its mind within a loop, too.

use std::time::Duration;

use affinity_layer::ModelName;
use clap::ValueEnum;

use super::trace::Call;

/// What is generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// A coding agent: few turns of the user, long loops of tool calls.
    CodingAgent,
    /// A conversation: many short turns, and pauses in which caches expire.
    Chat,
    /// Questions about long documents, beyond the bound where prompts cost more.
    LongDocuments,
}

/// What a workload is made of; ranges hold their ends.
struct Shape {
    /// The models of the router and their weights.
    models: &'static [(&'static str, u64)],
    /// How often the router decides anew where a turn begins and within it, in percent.
    drift: [u64; 2],
    /// Tokens of the first prompt.
    first: [u64; 2],
    turns: [u64; 2],
    /// Requests of a turn.
    requests: [u64; 2],
    /// Tokens that a message of the user adds, and that a result of a tool adds.
    added: [[u64; 2]; 2],
    output: [u64; 2],
    /// Seconds before a turn, and before a request within it.
    pause: [[u64; 2]; 2],
}

const SONNET: &str = "anthropic/claude-sonnet-5-5";
const OPUS: &str = "anthropic/claude-opus-5-5";
const HAIKU: &str = "anthropic/claude-haiku-5-5";
const SOL: &str = "openai/gpt-6.1-sol";
const TERRA: &str = "openai/gpt-6.1-terra";

impl Workload {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::CodingAgent, Self::Chat, Self::LongDocuments];

    fn shape(self) -> Shape {
        match self {
            Self::CodingAgent => Shape {
                models: &[(SONNET, 5), (SOL, 3), (TERRA, 2)],
                drift: [60, 25],
                first: [14_000, 26_000],
                turns: [2, 6],
                requests: [6, 25],
                added: [[100, 900], [200, 3_500]],
                output: [80, 900],
                pause: [[30, 600], [4, 45]],
            },
            Self::Chat => Shape {
                models: &[(HAIKU, 5), (SONNET, 3), (OPUS, 2)],
                drift: [70, 0],
                first: [1_500, 4_000],
                turns: [4, 14],
                requests: [1, 1],
                added: [[40, 700], [0, 0]],
                output: [100, 800],
                pause: [[15, 900], [1, 1]],
            },
            Self::LongDocuments => Shape {
                models: &[(SOL, 5), (TERRA, 5)],
                drift: [60, 10],
                first: [60_000, 320_000],
                turns: [3, 12],
                requests: [1, 4],
                added: [[50, 600], [1_000, 9_000]],
                output: [200, 1_500],
                pause: [[30, 1_500], [5, 60]],
            },
        }
    }
}

/// The requests of so many sessions, in the order of their times. The same arguments give the same requests.
#[must_use]
pub fn generate(workload: Workload, seed: u64, sessions: u32) -> Vec<Call> {
    let shape = workload.shape();
    let mut random = Random(seed);
    let mut calls = Vec::new();
    for number in 1..=sessions {
        session(&shape, &mut random, &format!("s{number}"), &mut calls);
    }
    calls.sort_by(|a, b| a.at.cmp(&b.at).then_with(|| a.session.cmp(&b.session)));
    calls
}

fn session(shape: &Shape, random: &mut Random, name: &str, calls: &mut Vec<Call>) {
    let [at_turn, within] = shape.pause;
    let mut at = Duration::from_millis(random.between([0, 4 * 3600 * 1000]));
    let mut prompt = random.between(shape.first);
    let mut choice = random.pick(shape.models);
    for turn in 0..random.between(shape.turns) {
        for request in 0..random.between(shape.requests) {
            let is_first = turn == 0 && request == 0;
            let begins = request == 0;
            if !is_first {
                let place = usize::from(!begins);
                let pause = if begins { at_turn } else { within };
                at += Duration::from_millis(random.between(pause.map(|seconds| seconds * 1000)));
                prompt += shape.added.get(place).map_or(0, |range| random.between(*range));
                let drift = shape.drift.get(place).copied().unwrap_or_default();
                if random.below(100) < drift {
                    choice = random.pick(shape.models);
                }
            }
            let output = random.between(shape.output);
            // The names are constants and have the form of a model's.
            let Ok(choice) = ModelName::new(choice) else { return };
            calls.push(Call {
                at,
                session: name.to_owned(),
                choice,
                prompt,
                output,
                same_prefix: None,
                user_turn: Some(begins),
            });
            prompt += output;
        }
    }
}

/// `SplitMix64`: small, and the same everywhere and for ever, which a crate's generator does not promise.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.next()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or_default()
    }

    fn between(&mut self, [least, most]: [u64; 2]) -> u64 {
        least + self.below(most - least + 1)
    }

    fn pick<'a>(&mut self, weighted: &[(&'a str, u64)]) -> &'a str {
        let all = weighted.iter().map(|(_, weight)| weight).sum::<u64>().max(1);
        let mut left = self.below(all);
        let found = weighted.iter().find(|(_, weight)| {
            let is_here = left < *weight;
            left = left.saturating_sub(*weight);
            is_here
        });
        found.map_or("", |(name, _)| name)
    }
}
