//! What a client knows of its chats, as `docs/frontend.md` has it: a cursor for each, live events in order, and pages of what
//! was missed.

use std::collections::HashMap;

use serde::Deserialize;

/// Where a log event stands in its chat.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct At {
    pub cursor: u64,
    pub prev: u64,
}

/// A log event: `seq` of a new message, `None` of any other.
#[derive(Debug, Clone)]
pub struct Logged {
    pub chat: String,
    pub seq: Option<u64>,
    pub at: At,
}

/// All chats of a client.
#[derive(Debug, Default)]
pub struct Inbox {
    chats: HashMap<String, Log>,
    /// Live events that come before what was missed wait for it.
    held: Option<Vec<Logged>>,
    /// Live events that did not follow the one before them, which a client has to fetch; none is expected.
    pub gaps: u64,
}

/// What is known of one chat.
#[derive(Debug, Default)]
struct Log {
    cursor: u64,
    /// Messages in the order in which they became known.
    seqs: Vec<u64>,
}

impl Inbox {
    /// A chat whose events are known up to here.
    pub fn open(&mut self, chat: &str, cursor: u64) {
        self.chats.insert(chat.to_owned(), Log { cursor, seqs: Vec::new() });
    }

    /// What to ask for what was missed.
    pub fn cursors(&self) -> HashMap<String, u64> {
        self.chats.iter().map(|(chat, log)| (chat.clone(), log.cursor)).collect()
    }

    /// The connection is gone: until it has caught up, live events wait.
    pub fn disconnected(&mut self) {
        self.held = Some(Vec::new());
    }

    /// A live event.
    pub fn heard(&mut self, event: Logged) {
        match &mut self.held {
            Some(held) => held.push(event),
            None => self.take(event, true),
        }
    }

    /// An event of a page.
    pub fn read(&mut self, event: Logged) {
        self.take(event, false);
    }

    /// All pages are read.
    pub fn caught_up(&mut self) {
        for event in self.held.take().into_iter().flatten() {
            self.take(event, true);
        }
    }

    /// The messages of a chat as they became known.
    pub fn seqs(&self, chat: &str) -> &[u64] {
        self.chats.get(chat).map_or(&[], |log| &log.seqs)
    }

    fn take(&mut self, Logged { chat, seq, at }: Logged, live: bool) {
        let Some(log) = self.chats.get_mut(&chat) else { return };
        if at.cursor <= log.cursor {
            // It was in a page already; from one connection twice it would be a double, which `Faults` finds.
            return;
        }
        self.gaps += u64::from(live && at.prev > log.cursor);
        log.cursor = at.cursor;
        log.seqs.extend(seq);
    }
}

/// What is wrong with what clients know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Faults {
    /// Messages that a client does not know.
    pub missed: u64,
    /// Messages that it knows twice.
    pub doubled: u64,
    pub out_of_order: u64,
    /// See [`Inbox::gaps`].
    pub gaps: u64,
}

impl Faults {
    /// Compares what a client knows with the messages after `first` up to `last`: they are numbered without gaps.
    pub fn count(&mut self, known: &[u64], first: u64, last: u64) {
        let mut sorted = known.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let wanted = sorted.iter().filter(|seq| (first + 1..=last).contains(seq)).count() as u64;
        self.missed += last.saturating_sub(first) - wanted;
        self.doubled += (known.len() - sorted.len()) as u64;
        self.out_of_order += known.windows(2).filter(|pair| pair[1] < pair[0]).count() as u64;
    }

    pub fn none(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(cursor: u64, prev: u64) -> Logged {
        Logged { chat: "a".to_owned(), seq: Some(cursor / 10), at: At { cursor, prev } }
    }

    fn inbox() -> Inbox {
        let mut inbox = Inbox::default();
        inbox.open("a", 10);
        inbox
    }

    #[test]
    fn live_events_wait_for_what_was_missed_and_nothing_comes_twice() {
        let mut inbox = inbox();
        inbox.heard(event(20, 10));
        inbox.disconnected();
        inbox.heard(event(50, 40));
        assert_eq!(inbox.cursors()["a"], 20);
        for (cursor, prev) in [(30, 20), (40, 30), (50, 40)] {
            inbox.read(event(cursor, prev));
        }
        inbox.heard(event(60, 50));
        inbox.caught_up();
        inbox.heard(event(70, 60));
        assert_eq!((inbox.seqs("a"), inbox.gaps), ([2, 3, 4, 5, 6, 7].as_slice(), 0));
    }

    #[test]
    fn a_gap_is_noticed() {
        let mut inbox = inbox();
        inbox.heard(event(30, 20));
        assert_eq!((inbox.seqs("a"), inbox.gaps), ([3].as_slice(), 1));
    }

    #[test]
    fn faults_are_counted() {
        let count = |known: &[u64]| {
            let mut faults = Faults::default();
            faults.count(known, 4, 7);
            (faults.missed, faults.doubled, faults.out_of_order)
        };
        assert_eq!(count(&[5, 6, 7]), (0, 0, 0));
        assert_eq!(count(&[5, 7]), (1, 0, 0));
        assert_eq!(count(&[5, 6, 6, 7]), (0, 1, 0));
        assert_eq!(count(&[5, 7, 6]), (0, 0, 1));
        assert_eq!(count(&[]), (3, 0, 0));
    }
}
