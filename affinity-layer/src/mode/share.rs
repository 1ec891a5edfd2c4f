//! A share, such as `10%`.

use std::fmt;
use std::str::FromStr;

/// All of something, in the unit that shares are counted in.
const WHOLE: u32 = 1_000_000;

/// Decimal places of a percentage that are counted.
const PLACES: usize = 4;

/// A part of a whole, from nothing to all of it, in millionths.
///
/// ```
/// use affinity_layer::mode::Share;
///
/// let share: Share = "12.5%".parse().expect("a percentage");
/// assert_eq!(share.of(1_000), 125);
/// assert_eq!(share.to_string(), "12.5%");
/// assert!("12.5".parse::<Share>().is_err(), "without the sign it could be a fraction");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

/// Text that is no share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnreadableShare;

impl Share {
    /// Nothing.
    pub const NONE: Self = Self(0);

    /// All of it.
    pub const ALL: Self = Self(WHOLE);

    /// A whole number of percent; more than 100 counts as 100.
    #[must_use]
    pub const fn percent(percent: u8) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self(percent as u32 * (WHOLE / 100))
    }

    /// The share in millionths.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    /// So much of `whole`, rounded down.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let part = u128::from(whole) * u128::from(self.0) / u128::from(WHOLE);
        u64::try_from(part).unwrap_or(whole)
    }
}

impl FromStr for Share {
    type Err = UnreadableShare;

    /// Reads a percentage with at most four decimal places and the sign.
    fn from_str(text: &str) -> Result<Self, UnreadableShare> {
        let number = text.strip_suffix('%').ok_or(UnreadableShare)?.trim_end();
        let (whole, places) = number.split_once('.').unwrap_or((number, "0"));
        let are_digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !are_digits(whole) || !are_digits(places) || places.len() > PLACES {
            return Err(UnreadableShare);
        }
        let millionths =
            format!("{whole}{places:0<PLACES$}").parse().map_err(|_| UnreadableShare)?;
        Some(Self(millionths)).filter(|share| share.0 <= WHOLE).ok_or(UnreadableShare)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:04}", self.0 / 10_000, self.0 % 10_000);
        write!(f, "{}%", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl fmt::Display for UnreadableShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("must be a percentage such as 10%, from 0% to 100%")
    }
}

impl std::error::Error for UnreadableShare {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_percentage_with_its_sign() {
        for (text, millionths) in
            [("0%", 0), ("10%", 100_000), ("0.5 %", 5_000), ("100%", WHOLE), ("33.3333%", 333_333)]
        {
            assert_eq!(text.parse(), Ok(Share(millionths)), "{text}");
        }
        for text in ["", "%", "10", "-1%", "101%", "100.0001%", "1e1%", ".5%", "5.%", "1.23456%"] {
            assert_eq!(text.parse::<Share>(), Err(UnreadableShare), "{text}");
        }
        assert_eq!(Share(333_333).to_string(), "33.3333%");
        assert_eq!(Share::percent(10).to_string(), "10%");
        assert_eq!(Share::percent(200).of(u64::MAX), u64::MAX);
    }
}
