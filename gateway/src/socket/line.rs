//! The events of one socket: how many at a time, and which of them wait for each other.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// One per socket.
pub struct Line {
    permits: Arc<Semaphore>,
    last: Mutex<Option<oneshot::Receiver<()>>>,
}

/// The place of one event in its socket's line. Dropping it lets the next one come.
pub struct Turn {
    before: Option<oneshot::Receiver<()>>,
    _done: oneshot::Sender<()>,
}

impl Line {
    pub fn new(in_flight: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(in_flight)), last: Mutex::default() }
    }

    /// May another event be worked on? `None`: too many are.
    pub fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permits.clone().try_acquire_owned().ok()
    }

    /// Queues up behind those that did before: what a client sends in an order happens in that order.
    pub fn turn(&self) -> Turn {
        let (done, next) = oneshot::channel();
        let before = self.last.lock().unwrap_or_else(PoisonError::into_inner).replace(next);
        Turn { before, _done: done }
    }
}

impl Turn {
    /// Waits until those before are done.
    pub async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // It ends by being dropped.
            let _ = before.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_order_also_when_one_is_given_up() {
        let line = Line::new(8);
        let (first, mut second, mut third) = (line.turn(), line.turn(), line.turn());
        assert!(futures::FutureExt::now_or_never(second.come()).is_none());
        drop(first);
        drop(second);
        third.come().await;
        drop(third);
        line.turn().come().await;
    }

    #[test]
    fn there_are_only_so_many_permits() {
        let line = Line::new(1);
        let permit = line.permit();
        assert!(permit.is_some() && line.permit().is_none());
        drop(permit);
        assert!(line.permit().is_some());
    }
}
