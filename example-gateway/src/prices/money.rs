//! Amounts of money.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Decimal places of a dollar that are counted.
const PLACES: u32 = 12;

/// Decimal places of a price per million tokens: a millionth of it is a price per token.
const PRICE_PLACES: u32 = 6;

/// An amount of US dollars, in whole picodollars: a millionth of a millionth of a dollar.
///
/// The largest amount is some 18 million dollars. Sums stay there rather than wrap or fail. In text and JSON
/// an amount is its exact decimal in dollars, as text: a JSON number would be rounded by most readers.
///
/// ```
/// use example_gateway::prices::Picodollars;
///
/// let input = Picodollars::per_token("2.50").expect("a price per million tokens");
/// assert_eq!(input.times(1_000).to_string(), "0.0025");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Picodollars(u64);

/// Text that is no amount: not a decimal number from 0 on, with too many decimal places, or too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableAmount;

impl Picodollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many picodollars.
    #[must_use]
    pub const fn new(picodollars: u64) -> Self {
        Self(picodollars)
    }

    /// The number of picodollars.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// What one token costs at a price in dollars per million tokens.
    ///
    /// # Errors
    ///
    /// When the price is not a decimal number from 0 on with at most six decimal places.
    pub fn per_token(dollars_per_million: &str) -> Result<Self, UnreadableAmount> {
        decimal(dollars_per_million, PRICE_PLACES).map(Self).ok_or(UnreadableAmount)
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of it without `other`; nothing if `other` is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// So many times as much.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self(self.0.saturating_mul(count))
    }
}

/// `text` as a whole number of units of which 10^`places` make one.
fn decimal(text: &str, places: u32) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let are_digits =
        |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = places.checked_sub(u32::try_from(fraction.len()).ok()?)?;
    let fraction = match fraction {
        "" => 0,
        fraction => fraction.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(missing)?)?,
    };
    whole.parse::<u64>().ok()?.checked_mul(10_u64.checked_pow(places)?)?.checked_add(fraction)
}

impl FromStr for Picodollars {
    type Err = UnreadableAmount;

    /// Reads dollars with at most twelve decimal places.
    fn from_str(dollars: &str) -> Result<Self, UnreadableAmount> {
        decimal(dollars, PLACES).map(Self).ok_or(UnreadableAmount)
    }
}

impl fmt::Display for Picodollars {
    /// Dollars without trailing zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u64.pow(PLACES);
        let fraction = format!("{:012}", self.0 % unit);
        let text = format!("{}.{fraction}", self.0 / unit);
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Display for UnreadableAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not an amount of dollars")
    }
}

impl std::error::Error for UnreadableAmount {}

impl Serialize for Picodollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Picodollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_per_million_tokens_is_a_whole_number_for_each_token() {
        for (text, picodollars) in [
            ("0", 0),
            ("2", 2_000_000),
            ("2.50", 2_500_000),
            ("0.125", 125_000),
            ("0.0028", 2_800),
            ("0.000001", 1),
            ("0.1000000000", 100_000),
            ("1000000", 1_000_000_000_000),
        ] {
            assert_eq!(Picodollars::per_token(text), Ok(Picodollars(picodollars)), "{text}");
        }
        let huge = u64::MAX.to_string();
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "NaN", "0.0000001", "1,5", " 1", &huge]
        {
            assert_eq!(Picodollars::per_token(text), Err(UnreadableAmount), "{text}");
        }
    }

    #[test]
    fn amounts_are_written_in_dollars() {
        for (picodollars, text) in [
            (0, "0"),
            (1, "0.000000000001"),
            (1_500_000_000_000, "1.5"),
            (20_000_000_000_000, "20"),
            (u64::MAX, "18446744.073709551615"),
        ] {
            assert_eq!(Picodollars(picodollars).to_string(), text);
        }
        assert_eq!(serde_json::to_value(Picodollars(2_500_000)).unwrap(), "0.0000025");
    }

    #[test]
    fn sums_stay_at_their_bounds() {
        let most = Picodollars(u64::MAX);
        assert_eq!((most.plus(Picodollars(1)), most.times(2)), (most, most));
        assert_eq!(Picodollars(1).minus(Picodollars(2)), Picodollars::ZERO);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(picodollars: u64) {
            let amount = Picodollars(picodollars);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
            let json = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(serde_json::from_str::<Picodollars>(&json).unwrap(), amount);
        }
    }
}
