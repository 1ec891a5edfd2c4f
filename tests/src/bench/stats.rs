//! Medians, percentiles and ratios of pairs.

/// The middle of `values`; of an even number, the mean of the two in the middle.
#[must_use]
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => f64::midpoint(values[len / 2 - 1], values[len / 2]),
    }
}

/// The smallest of the sorted `values` that is not below `permille` thousandths of them.
#[must_use]
pub(crate) fn percentile(sorted: &[f64], permille: usize) -> f64 {
    let rank = (sorted.len() * permille).div_ceil(1000).max(1);
    sorted.get(rank - 1).copied().unwrap_or(f64::NAN)
}

/// The median of the ratios of what was measured in turns.
#[must_use]
pub(super) fn ratio<T>(of: &[T], to: &[T], value: impl Fn(&T) -> f64) -> f64 {
    median(of.iter().zip(to).map(|(of, to)| value(of) / value(to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_and_the_ranks() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 500), percentile(&hundred, 990)), (50.0, 99.0));
        assert_eq!(percentile(&[7.0], 990), 7.0);
        assert!(median([]).is_nan() && percentile(&[], 500).is_nan());
    }

    #[test]
    fn ratios_are_of_pairs() {
        // The machine became twice as slow in between, which both saw.
        assert_eq!(ratio(&[9.0, 4.5, 9.0], &[10.0, 5.0, 10.0], |value| *value), 0.9);
    }
}
