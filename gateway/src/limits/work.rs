//! The memory that may be in work at a time: requests and events of all clients together.

use std::sync::{Arc, Mutex, PoisonError};

use contract::Refusal;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A permit of the semaphore stands for so many bytes.
const UNIT: usize = 1024;
/// What the smallest piece of work counts for: its task, its call and the answer to it.
const LEAST: usize = 8 * UNIT;

/// So many bytes of work; what does not fit is refused.
pub struct Budget(Arc<Semaphore>);

/// What one piece of work takes; given back when the last of its clones is dropped.
#[derive(Clone)]
pub struct Work(Arc<Mutex<OwnedSemaphorePermit>>);

impl Budget {
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).clamp(LEAST / UNIT, Semaphore::MAX_PERMITS))))
    }

    /// Begins a piece of work with a body of so many bytes.
    ///
    /// `unavailable` where too much is in work already.
    pub fn begin(&self, bytes: usize) -> Result<Work, Refusal> {
        let permit = acquire(&self.0, LEAST + bytes)?;
        Ok(Work(Arc::new(Mutex::new(permit))))
    }
}

impl Work {
    /// So many bytes have come to its body.
    pub fn grow(&self, bytes: usize) -> Result<(), Refusal> {
        let mut permit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let more = acquire(permit.semaphore(), bytes)?;
        permit.merge(more);
        Ok(())
    }
}

fn acquire(semaphore: &Arc<Semaphore>, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
    semaphore.clone().try_acquire_many_owned(units).map_err(|_| {
        metrics::counter!("natter_limited_total", "limit" => "work").increment(1);
        Refusal::unavailable("Natter is busy; please try again in a moment.")
    })
}

#[cfg(test)]
mod tests {
    use contract::Code;

    use super::*;

    #[test]
    fn work_is_bounded_by_number_and_by_bytes() {
        let budget = Budget::new(3 * LEAST);
        let (first, second, third) = (budget.begin(0).ok().unwrap(), budget.begin(0).ok().unwrap(), budget.begin(0));
        assert!(third.is_ok());
        assert_eq!(budget.begin(0).err().unwrap().code, Code::Unavailable);
        drop(third);
        assert!(budget.begin(1).is_err());
        second.grow(LEAST).unwrap();
        assert!(first.grow(1).is_err());
        let copy = second.clone();
        drop(second);
        assert!(budget.begin(0).is_err());
        drop(copy);
        assert!(budget.begin(LEAST).is_ok());
    }
}
