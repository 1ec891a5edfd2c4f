//! What tokens cost, in exact money.
//!
//! 1. Money is a whole number of [picodollars](Picodollars). A price in US dollars per million tokens with up
//!    to six decimal places is a whole number of them for each token, so no sum is ever rounded.
//! 2. A [cost](Price::cost) is known or it is not. What the price tells apart and the provider has not
//!    counted makes it unknown, and a part of a cost is never taken for the whole.
//! 3. Sums saturate: one that does not fit stays where it is.
//!
//! Prices come from `model_providers[].price`, else from the [table](crate::config::known_model) of
//! well-known models. The ledger and `replay` read them here.

mod money;
mod price;

pub use self::money::{Picodollars, UnreadableAmount};
pub use self::price::{Cost, Price, Rates, TokenCounts};
