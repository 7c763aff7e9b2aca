//! Samples of a time, and the few figures that describe them.

use std::time::Duration;

use serde::Serialize;

/// Times taken in one round, in nanoseconds.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<u64>);

impl Samples {
    /// Adds one.
    pub fn add(&mut self, time: Duration) {
        self.0.push(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds all of another's.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Forgets all but the first so many.
    pub fn truncate(&mut self, count: usize) {
        self.0.truncate(count);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if nothing was taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The figures; all zero where nothing was taken.
    #[must_use]
    pub fn summary(mut self) -> Summary {
        self.0.sort_unstable();
        Summary { count: self.0.len(), p50: micros(&self.0, 50), p99: micros(&self.0, 99) }
    }
}

/// Nearest-rank percentile of sorted nanoseconds, in microseconds.
fn micros(sorted: &[u64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0.0, |&nanos| Duration::from_nanos(nanos).as_secs_f64() * 1e6)
}

/// Half of the samples were at most `p50`, all but one in a hundred at most `p99`; microseconds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// How many samples.
    pub count: usize,
    /// The median.
    pub p50: f64,
    /// The 99th percentile.
    pub p99: f64,
}

/// The middle of some figures, one from each round: a round that was disturbed does not move it.
#[must_use]
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = figures.into_iter().filter(|f| f.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let upper = sorted.get(sorted.len() / 2).copied()?;
    let lower = sorted.get(sorted.len().saturating_sub(1) / 2).copied()?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut samples = Samples::default();
        for n in (1..=200).rev() {
            samples.add(Duration::from_micros(n));
        }
        assert_eq!(samples.summary(), Summary { count: 200, p50: 100.0, p99: 198.0 });
        assert_eq!(Samples::default().summary(), Summary::default());
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        assert_eq!(median([4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median([9.0, 1.0, f64::NAN, 3.0]), Some(3.0));
        assert_eq!(median([]), None);
    }
}
