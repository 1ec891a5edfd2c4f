//! What is noted of an answer, so that the request that goes on from it is known.
//!
//! 1. **The ids of its calls**, if they are [random](is_random): every loop sends them back, in all three
//!    protocols, and nobody else has them. An id that is not, such as `call_0`, is no evidence by itself.
//! 2. **Its text**, together with the opening of the conversation: "Done." is said everywhere. An answer
//!    that has neither text nor a random id is known by the ids that it has, together with the opening.
//!
//! The answer that passes and the answer that a later request repeats are noted by the same code, the one
//! in pieces, the other at once.

use super::print::{Domain, Print, PrintKey, Printer};

/// The ids of calls that are kept of one answer.
const CALLS: usize = 2;

/// What is noted of one answer, from its text and the ids of its calls: the same prints whether it is
/// read as it passes or from a later request.
#[derive(Debug)]
pub(crate) struct AnswerNotes {
    key: PrintKey,
    opening: Print,
    /// The text so far.
    text: Option<Printer>,
    calls: Vec<Print>,
    /// Ids that are not random.
    others: Vec<String>,
}

impl AnswerNotes {
    /// Notes of an answer in a conversation with this opening.
    pub(super) fn new(key: &PrintKey, opening: Print) -> Self {
        let (calls, others) = (Vec::new(), Vec::new());
        Self { key: key.clone(), opening, text: None, calls, others }
    }

    /// Takes a piece of the text.
    pub(crate) fn text(&mut self, text: &[u8]) {
        // White space alone is no text.
        if text.iter().any(|byte| !byte.is_ascii_whitespace()) {
            let begun = self.text.take();
            let mut printer = begun.unwrap_or_else(|| self.begin());
            printer.text(text);
            self.text = Some(printer);
        }
    }

    /// Takes the id of a call. The same one may come several times.
    pub(crate) fn call(&mut self, id: &str) {
        if is_random(id) {
            let mut printer = self.key.printer(Domain::Call);
            printer.bytes(id.as_bytes());
            let print = printer.finish();
            if self.calls.len() < CALLS && !self.calls.contains(&print) {
                self.calls.push(print);
            }
        } else if !id.is_empty()
            && self.others.len() < CALLS
            && !self.others.iter().any(|other| other == id)
        {
            self.others.push(id.to_owned());
        }
    }

    /// The prints of the calls, and that of the answer: of its text, else of ids that are not random.
    pub(crate) fn prints(&self) -> (&[Print], Option<Print>) {
        let answer = match &self.text {
            Some(text) => Some(text.finish()),
            None if self.others.is_empty() => None,
            None => {
                let mut printer = self.begin();
                // No text has white space in its print.
                self.others.iter().for_each(|id| {
                    printer.bytes(b" ");
                    printer.bytes(id.as_bytes());
                });
                Some(printer.finish())
            }
        };
        (&self.calls, answer)
    }

    fn begin(&self) -> Printer {
        let mut printer = self.key.printer(Domain::Answer);
        printer.print(self.opening);
        printer
    }
}

/// Whether `id` was drawn at random, and so is evidence by itself.
///
/// Providers draw most ids (`call_` and 24 letters and digits, a UUID), but some count: `call_0`,
/// `functions.get_weather:0`, `Bash_1`. An id is random if one of its parts has eight characters or more
/// and changes three times between letters and digits, as no name does, or has 17 digits. Of the random
/// ids of 24 characters this misses some two in a hundred, whose answers are then known by their text.
pub(crate) fn is_random(id: &str) -> bool {
    let parts = id.as_bytes().split(|byte| !byte.is_ascii_alphanumeric());
    parts.into_iter().any(|part| {
        let pairs = part.iter().zip(part.iter().skip(1));
        let changes = pairs.filter(|(a, b)| a.is_ascii_digit() != b.is_ascii_digit()).count();
        let is_number = part.iter().all(u8::is_ascii_digit);
        (part.len() >= 8 && changes >= 3) || (part.len() >= 17 && is_number)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_counts_by_itself_only_if_it_was_drawn() {
        for id in [
            "call_wL5fRZYBmYVxGWx0aBv3mJ4d",
            "toolu_01A09q90qw90lq917835lq9",
            "chatcmpl-tool-8f3b2c91d0a74b6e9c5d1e2f3a4b5c6d",
            "3f1c0d52-8a77-4e0b-9c11-0123456789ab",
            "call_00_Xy7Kp2Qr9StU4vW1",
            "function-call-12345678901234567890",
            "D6a1Pe5Ks",
        ] {
            assert!(is_random(id), "{id}");
        }
        for id in [
            "",
            "call_0",
            "call_1",
            "call_12",
            "call_1_0",
            "functions.get_weather:0",
            "Bash_1",
            "get_weather:11",
            "list_directory",
            "functions.base64encode:12",
            "tool-1732950000",
            "call_1732950000000",
            "mcp__s3__list_buckets_v2",
        ] {
            assert!(!is_random(id), "{id}");
        }
    }
}
