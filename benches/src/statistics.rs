//! Percentiles, and the median of pair-wise ratios.

/// What is told of one row's values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The smallest value.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten values are not above it.
    pub p90: f64,
}

impl Summary {
    /// `None` without values.
    #[must_use]
    pub fn of(values: &[f64]) -> Option<Self> {
        Some(Self { min: percentile(values, 0)?, p50: percentile(values, 50)?, p90: percentile(values, 90)? })
    }
}

/// The median of `values[i] / base[i]`: noise that lasts longer than one round touches both sides of a pair, and cancels.
/// `None` if any value is not above zero: that is noise, and a ratio of it would look like a result.
#[must_use]
pub fn median_ratio(values: &[f64], base: &[f64]) -> Option<f64> {
    if values.iter().chain(base).any(|value| *value <= 0.0) {
        return None;
    }
    let ratios: Vec<f64> = values.iter().zip(base).map(|(value, base)| value / base).collect();
    percentile(&ratios, 50)
}

/// The value below which `percent` of all lie (nearest rank); `None` without values.
#[must_use]
pub fn percentile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0, 6.0, 7.0, 8.0, 9.0, 10.0];
        assert_eq!(Summary::of(&values), Some(Summary { min: 1.0, p50: 5.0, p90: 9.0 }));
        assert_eq!(Summary::of(&[2.5]), Some(Summary { min: 2.5, p50: 2.5, p90: 2.5 }));
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn ratios_are_of_pairs() {
        // One slow round on both sides changes the medians' ratio, not the median ratio.
        assert_eq!(median_ratio(&[1.0, 50.0, 1.0], &[2.0, 100.0, 2.0]), Some(0.5));
        assert_eq!(median_ratio(&[1.0], &[0.0]), None);
        assert_eq!(median_ratio(&[-1.0, 1.0, 1.0], &[1.0, 1.0, 1.0]), None, "no ratio of noise");
    }
}
