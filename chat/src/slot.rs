//! What an instance knows of one chat.

use std::{collections::VecDeque, sync::Arc};

use contract::event::{Cursor, Event, Seq};
use tokio::time::Instant;

use crate::{fold, state::ChatState};

/// Changes of messages that are remembered; what is older than these is read again.
const CHANGES: usize = 64;

#[derive(Debug, Default)]
pub struct Slot {
    pub state: Option<Arc<ChatState>>,
    /// When the log was last read to its end.
    pub read_at: Option<Instant>,
    /// Events the snapshot in the bucket had, as far as known.
    pub snapshot: u64,
    /// Events known to be archived.
    pub archived: u64,
    changes: Changes,
}

/// The latest changes of messages, to know of one that was read a moment ago whether it still is as it was.
#[derive(Debug, Default)]
struct Changes {
    /// Up to here a change may have been forgotten.
    forgotten: Cursor,
    latest: VecDeque<(Cursor, Seq)>,
}

impl Slot {
    /// Begins with what a snapshot says.
    pub fn begin(&mut self, state: Option<ChatState>) {
        self.snapshot = state.as_ref().map_or(0, |state| state.events);
        self.changes = Changes { forgotten: state.as_ref().map_or(0, |state| state.cursor), ..Changes::default() };
        self.state = state.map(Arc::new);
    }

    /// Takes one event in; the state is copied only while somebody else looks at it.
    pub fn advance(&mut self, event: &Event, cursor: Cursor) {
        match &mut self.state {
            Some(state) => Arc::make_mut(state).apply(event, cursor),
            None => self.state = ChatState::begin(event, cursor).map(Arc::new),
        }
        if let Some(seq) = fold::target(event) {
            self.changes.push(cursor, seq);
        }
    }

    /// Whether a message may have been changed since the log stood at `cursor`.
    #[must_use]
    pub fn may_have_changed(&self, seq: Seq, cursor: Cursor) -> bool {
        self.changes.may_have(seq, cursor)
    }
}

impl Changes {
    fn push(&mut self, cursor: Cursor, seq: Seq) {
        self.latest.push_back((cursor, seq));
        if self.latest.len() > CHANGES
            && let Some((cursor, _)) = self.latest.pop_front()
        {
            self.forgotten = cursor;
        }
    }

    fn may_have(&self, seq: Seq, since: Cursor) -> bool {
        since < self.forgotten || self.latest.iter().rev().take_while(|(at, _)| *at > since).any(|(_, one)| *one == seq)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_change_is_overlooked(
            changed in prop::collection::vec(0..6_u64, 0..3 * CHANGES),
            seq in 0..6_u64,
            since in 0..4 * CHANGES as u64,
        ) {
            let mut changes = Changes::default();
            let at = |index: usize| 2 * index as u64 + 1;
            for (index, seq) in changed.iter().enumerate() {
                changes.push(at(index), *seq);
            }
            let really = changed.iter().enumerate().any(|(index, one)| at(index) > since && *one == seq);
            let may = changes.may_have(seq, since);
            prop_assert!(may || !really);
            // And is not suspected either, while they all are remembered.
            let remembered = changed.len() <= CHANGES || since >= at(changed.len() - CHANGES - 1);
            prop_assert!(!remembered || may == really);
        }
    }
}
