//! When to try again: growing delays, spread so that what failed together does not come back together.

use std::time::Duration;

use rand::RngExt;

use crate::RetryConfig;

impl RetryConfig {
    /// How long to wait after this attempt, counted from 1; `None` when it was the last one.
    pub(crate) fn after(&self, attempt: u64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doublings = u32::try_from(attempt.saturating_sub(1)).unwrap_or(u32::MAX).min(31);
        let delay = self.first.saturating_mul(1 << doublings).min(self.longest);
        Some(delay.mul_f64(rand::rng().random_range(0.8..=1.2)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_end() {
        let seconds = Duration::from_secs;
        let retry = RetryConfig { first: seconds(2), longest: seconds(600), attempts: 150 };
        for (attempt, expected) in [(1, 2), (2, 4), (5, 32), (9, 512), (10, 600), (149, 600)] {
            let delay = retry.after(attempt).unwrap();
            let expected = seconds(expected);
            assert!((expected.mul_f64(0.8)..=expected.mul_f64(1.2)).contains(&delay), "{attempt}: {delay:?}");
        }
        assert_eq!(retry.after(150), None);
    }
}
