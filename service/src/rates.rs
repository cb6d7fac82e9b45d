//! Token buckets: each key has so many tokens at once, and so many come back per second (GCRA, by `governor`).

use std::{hash::Hash, num::NonZeroU32, sync::Arc, time::Duration};

use contract::Refusal;
use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    state::keyed::HashMapStateStore,
};

use crate::{Lifecycle, config::RateConfig};

/// Full buckets are forgotten this often.
const FORGET: Duration = Duration::from_secs(10);

/// The buckets of one kind, in this process. One that is full again takes no memory a while later, so that there are no
/// more of them than keys that were seen within the time that a bucket takes to fill.
pub struct Rates<K: Clone + Eq + Hash> {
    /// For metrics: `natter_limited_total{limit}`.
    name: &'static str,
    burst: NonZeroU32,
    /// `None`: there is no limit.
    limiter: Option<Arc<Limiter<K>>>,
}

type Limiter<K> = RateLimiter<K, HashMapStateStore<K>, MonotonicClock>;

impl<K: Clone + Eq + Hash + Send + Sync + 'static> Rates<K> {
    #[must_use]
    pub fn new(name: &'static str, config: RateConfig) -> Self {
        let burst = NonZeroU32::new(config.burst).unwrap_or(NonZeroU32::MIN);
        let quota = config.period().and_then(Quota::with_period).map(|quota| quota.allow_burst(burst));
        let limiter = quota.map(|quota| RateLimiter::new(quota, HashMapStateStore::default(), MonotonicClock));
        Self { name, burst, limiter: limiter.map(Arc::new) }
    }

    /// Forgets full buckets in the background until the stop.
    pub fn keep(&self, lifecycle: &Lifecycle) {
        let (Some(limiter), soft) = (self.limiter.clone(), lifecycle.soft().clone()) else { return };
        lifecycle.keep(self.name, async move {
            while soft.run_until_cancelled(tokio::time::sleep(FORGET)).await.is_some() {
                forget(&limiter);
            }
        });
    }

    /// Takes so many tokens, all that a full bucket has at most. `rate_limited` where there are too few, with the time
    /// until there are enough.
    pub fn take(&self, key: &K, tokens: usize) -> Result<(), Refusal> {
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX).min(self.burst.get());
        let (Some(limiter), Some(tokens)) = (&self.limiter, NonZeroU32::new(tokens)) else { return Ok(()) };
        let wait = match limiter.check_key_n(key, tokens) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(not_until)) => not_until.wait_time_from(MonotonicClock.now()),
            // More than a bucket holds, which is not asked for.
            Err(_) => Duration::from_secs(1),
        };
        metrics::counter!("natter_limited_total", "limit" => self.name).increment(1);
        Err(Refusal::rate_limited(wait))
    }
}

fn forget<K: Clone + Eq + Hash>(limiter: &Limiter<K>) {
    limiter.retain_recent();
    limiter.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use contract::Code;

    use super::*;

    fn rates(per_second: f64, burst: u32) -> Rates<&'static str> {
        Rates::new("test", RateConfig { per_second, burst })
    }

    #[test]
    fn a_bucket_is_emptied_by_its_own_key_and_fills_again() {
        let rates = rates(20.0, 3);
        for _ in 0..3 {
            rates.take(&"a", 1).unwrap();
        }
        let refusal = rates.take(&"a", 1).unwrap_err();
        assert_eq!((refusal.code, refusal.retry_after), (Code::RateLimited, Some(1)));
        rates.take(&"b", 3).unwrap();
        while rates.take(&"a", 1).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn the_time_to_wait_is_said() {
        let quick = rates(1.0, 30);
        quick.take(&"a", 30).unwrap();
        assert_eq!(quick.take(&"a", 20).unwrap_err().retry_after, Some(20));
        let slow = rates(0.1, 1);
        slow.take(&"a", 1).unwrap();
        assert_eq!(slow.take(&"a", 1).unwrap_err().retry_after, Some(10));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let rates = rates(1_000_000.0, 1);
        rates.take(&"a", 1).unwrap();
        let limiter = rates.limiter.as_ref().unwrap();
        assert_eq!(limiter.len(), 1);
        while !limiter.is_empty() {
            forget(limiter);
        }
    }

    #[test]
    fn no_rate_is_no_limit() {
        let rates = rates(0.0, 0);
        (0..1_000).for_each(|_| rates.take(&"a", 100).unwrap());
    }
}
