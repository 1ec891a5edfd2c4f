//! Whether a session stays with its model or moves to the router's other choice, by money.
//!
//! With `routing.policy: cost` the router is asked where a turn of the user begins. If it chooses another
//! model than the pinned one, the coming turn is priced at both:
//!
//! ```text
//! turn(m) = W_m·cached_m + (C − W_m)·fresh_m      its first request reads the context
//!         + (n − 1)·C·cached_m                    the others find it in the cache
//!         + n·O·output_m                          and each is answered
//! ```
//!
//! | | unit | is |
//! |---|---|---|
//! | `C` | tokens | the context that the next request sends again: the last prompt and its answer |
//! | `W_m` | tokens, at most `C` | of it, what model `m` still has in its cache: what its last answer in this session left there, 0 once the provider's window has passed since |
//! | `n` | requests | those of the coming turn: as many as the shortest turn of the session had so far, at least 1 |
//! | `O` | tokens | an answer: the mean of the session's answers so far, rounded down |
//! | `cached`, `output` | picodollars per token | the prices of `m` for a prompt of `C` tokens |
//! | `fresh` | picodollars per token | the price of a token that is written to the cache; of plain input if the session was seen not to use caches, and then `cached` is that, too |
//!
//! The session moves if `turn(other) < turn(pinned)`, and if the cap allows it. What a move costs is the part
//! of the context that the other model reads cold, less what the pinned one would read cold as well:
//!
//! ```text
//! move_cost = max(0, (C − W_other)·(fresh − cached)_other − (C − W_pinned)·(fresh − cached)_pinned)
//! ```
//!
//! So a cold pin costs nothing to leave, and a model that has most of the context warm costs little to return
//! to. All moves of a session together, this one included, cost at most `max_switch_share` of what the session
//! has spent. What is unknown keeps the pin: a price, or the tokens of every answer so far.
//!
//! [`SessionAccount`] keeps what these quantities are made of, for the gateway and for `replay` alike.

mod account;
mod formula;
#[cfg(test)]
mod tests;

pub use self::account::{PricedModel, SessionAccount};
pub use self::formula::{ModelTerms, Prospect, SwitchDecision, SwitchVerdict, weigh};
