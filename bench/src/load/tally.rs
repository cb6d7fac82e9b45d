//! What all chats of a run have in common: how many and how fast.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Instant,
};

use crate::latency::{Times, Window};

/// Shared by the ledgers of a run.
#[derive(Debug, Default)]
pub struct Tally {
    window: OnceLock<Window>,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
pub struct Counts {
    /// Acknowledgements and arrivals in the window, whenever they were sent.
    pub acknowledged: u64,
    pub delivered: u64,
    /// Of messages that were to be sent in the window: until their acknowledgement, and until each of the other sockets
    /// had them.
    pub acks: Times,
    pub deliveries: Times,
    /// What else arrived in the window, by its name.
    pub others: BTreeMap<String, u64>,
    /// By how much they were sent too late.
    pub lags: Times,
}

impl Tally {
    /// From now on it is known what counts.
    pub fn begin(&self, window: Window) {
        // A run begins once.
        let _ = self.window.set(window);
    }

    pub fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn acknowledged(&self, intended: Instant, at: Instant) {
        let Some(window) = self.window.get() else { return };
        let mut counts = self.counts();
        counts.acknowledged += u64::from(window.contains(at));
        if window.contains(intended) {
            counts.acks.record(at - intended);
        }
    }

    /// `to_other`: at another socket than the sender's.
    pub(super) fn delivered(&self, intended: Instant, at: Instant, to_other: bool) {
        let Some(window) = self.window.get() else { return };
        let mut counts = self.counts();
        counts.delivered += u64::from(window.contains(at));
        if to_other && window.contains(intended) {
            counts.deliveries.record(at - intended);
        }
    }

    pub(super) fn heard(&self, event: &str, at: Instant) {
        if !self.window.get().is_some_and(|window| window.contains(at)) {
            return;
        }
        let mut counts = self.counts();
        match counts.others.get_mut(event) {
            Some(count) => *count += 1,
            None => drop(counts.others.insert(event.to_owned(), 1)),
        }
    }

    pub(super) fn sent(&self, intended: Instant, at: Instant) {
        if self.window.get().is_some_and(|window| window.contains(intended)) {
            self.counts().lags.record(at - intended);
        }
    }
}
