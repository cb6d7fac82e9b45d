//! What became of each message of one chat: the answer its sender got, and when it arrived at which socket.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::tally::Tally;
use crate::refused::{Refusals, Refused};

/// When the next message may follow in a closed loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Its sender has been told that it is stored.
    Acknowledged,
    /// That, and all sockets have it.
    Delivered,
}

/// What a sender hears: go on, or wait this long first.
pub type Next = Result<(), Duration>;

/// The book of one chat. Messages are numbered from 0 in the order of their sending; the sockets take turns.
#[derive(Debug)]
pub struct Ledger {
    until: Until,
    tally: Arc<Tally>,
    /// By their place in the chat.
    sockets: Vec<Follower>,
    pub messages: Vec<Message>,
    /// Arrivals with another `seq` than the one that follows the last.
    pub out_of_order: u64,
    pub refused: Refusals,
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// The place of the socket that sends it.
    sender: usize,
    /// When it was to be sent; a sender that lags behind does not shorten the time it takes.
    pub intended: Instant,
    pub answer: Answer,
    /// Sockets that have it.
    arrived: usize,
    /// It is in the chat in two places, or a socket got it twice.
    pub doubled: bool,
    seq: Option<u64>,
    waiting: Option<oneshot::Sender<Next>>,
}

/// What the sender was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Awaited,
    Accepted,
    Refused,
}

impl Ledger {
    /// A chat with so many messages already, of so many sockets.
    pub fn new(last_seq: u64, sockets: usize, until: Until, tally: Arc<Tally>) -> Self {
        let sockets = vec![Follower::after(last_seq); sockets];
        Self { until, tally, sockets, messages: Vec::new(), out_of_order: 0, refused: Refusals::default() }
    }

    /// Enters a message that is about to be sent: its number, whose turn it is, and what to wait for.
    pub fn begin(&mut self, intended: Instant) -> (usize, usize, oneshot::Receiver<Next>) {
        let number = self.messages.len();
        let sender = number % self.sockets.len();
        let (waiting, next) = oneshot::channel();
        self.messages.push(Message {
            sender,
            intended,
            answer: Answer::Awaited,
            arrived: 0,
            doubled: false,
            seq: None,
            waiting: Some(waiting),
        });
        self.tally.sent(intended, Instant::now());
        (number, sender, next)
    }

    /// Its sender was told that it is stored.
    pub fn accepted(&mut self, number: usize, seq: u64, at: Instant) {
        let Some(message) = self.messages.get_mut(number) else { return };
        message.answer = Answer::Accepted;
        message.is_stored_as(seq);
        self.tally.acknowledged(message.intended, at);
        if self.until == Until::Acknowledged || message.arrived >= self.sockets.len() {
            message.release(Ok(()));
        }
    }

    /// Its sender was told that it is not, and to wait.
    pub fn refused(&mut self, number: usize, Refused { code, wait }: &Refused) {
        if let Some(message) = self.messages.get_mut(number) {
            message.answer = Answer::Refused;
            message.release(Err(*wait));
        }
        self.refused.count(code);
    }

    /// A message arrived at a socket; `number` is `None` where we have not sent it.
    pub fn arrived(&mut self, socket: usize, seq: u64, number: Option<usize>, at: Instant) {
        let taken = self.sockets[socket].take(seq);
        self.out_of_order += u64::from(taken == Taken::OutOfOrder);
        let Some(message) = number.and_then(|number| self.messages.get_mut(number)) else { return };
        message.is_stored_as(seq);
        if taken == Taken::Again {
            message.doubled = true;
            return;
        }
        message.arrived += 1;
        self.tally.delivered(message.intended, at, socket != message.sender);
        if message.arrived >= self.sockets.len() && message.answer == Answer::Accepted {
            message.release(Ok(()));
        }
    }

    /// Whether nothing is awaited any more: each message is answered, and the accepted ones have arrived.
    pub fn is_settled(&self) -> bool {
        self.messages.iter().all(|message| message.answer != Answer::Awaited) && self.lost() == 0
    }

    /// The number of the last message that a socket has seen.
    pub fn last_seq(&self) -> u64 {
        self.sockets.iter().map(|socket| socket.next - 1).max().unwrap_or_default()
    }

    /// Messages that were accepted, but that a socket does not have (yet).
    pub fn lost(&self) -> usize {
        let lost = |message: &&Message| message.answer == Answer::Accepted && message.arrived < self.sockets.len();
        self.messages.iter().filter(lost).count()
    }
}

impl Message {
    /// All who say where it is in the chat should say the same.
    fn is_stored_as(&mut self, seq: u64) {
        self.doubled |= *self.seq.get_or_insert(seq) != seq;
    }

    fn release(&mut self, next: Next) {
        if let Some(waiting) = self.waiting.take() {
            // Nobody waits where the rate is fixed.
            let _ = waiting.send(next);
        }
    }
}

/// What a socket has seen of a chat.
#[derive(Debug, Clone)]
struct Follower {
    next: u64,
    skipped: BTreeSet<u64>,
}

#[derive(Debug, PartialEq, Eq)]
enum Taken {
    InOrder,
    /// It leaves a gap, or fills one.
    OutOfOrder,
    Again,
}

impl Follower {
    fn after(seq: u64) -> Self {
        Self { next: seq + 1, skipped: BTreeSet::new() }
    }

    fn take(&mut self, seq: u64) -> Taken {
        if seq < self.next {
            return if self.skipped.remove(&seq) { Taken::OutOfOrder } else { Taken::Again };
        }
        let in_order = seq == self.next;
        self.skipped.extend(self.next..seq);
        self.next = seq + 1;
        if in_order { Taken::InOrder } else { Taken::OutOfOrder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Window;

    /// A chat with 4 messages before, and what has happened to further ones as `(member, seq, number)`.
    fn after(accepted: &[u64], arrivals: &[(usize, u64, usize)]) -> Ledger {
        let now = Instant::now();
        let mut ledger = Ledger::new(4, 2, Until::Delivered, Arc::default());
        for seq in accepted {
            let (number, ..) = ledger.begin(now);
            ledger.accepted(number, *seq, now);
        }
        for (member, seq, number) in arrivals {
            ledger.arrived(*member, *seq, Some(*number), now);
        }
        ledger
    }

    fn faults(ledger: &Ledger) -> (usize, usize, u64) {
        let doubled = ledger.messages.iter().filter(|message| message.doubled).count();
        (ledger.lost(), doubled, ledger.out_of_order)
    }

    #[test]
    fn a_sound_chat_has_no_faults() {
        let ledger = after(&[5, 6], &[(0, 5, 0), (1, 5, 0), (1, 6, 1), (0, 6, 1)]);
        assert_eq!((faults(&ledger), ledger.is_settled()), ((0, 0, 0), true));
        assert_eq!((ledger.messages[0].sender, ledger.messages[1].sender), (0, 1));
    }

    #[test]
    fn what_one_member_lacks_is_lost() {
        let ledger = after(&[5, 6], &[(0, 5, 0), (1, 5, 0), (1, 6, 1)]);
        assert_eq!((faults(&ledger), ledger.is_settled()), ((1, 0, 0), false));
    }

    #[test]
    fn a_gap_is_out_of_order_and_so_is_what_fills_it_late() {
        let ledger = after(&[5, 6], &[(0, 6, 1), (1, 5, 0), (1, 6, 1)]);
        assert_eq!(faults(&ledger), (1, 0, 1));
        let ledger = after(&[5, 6], &[(0, 6, 1), (0, 5, 0), (1, 5, 0), (1, 6, 1)]);
        assert_eq!(faults(&ledger), (0, 0, 2));
    }

    #[test]
    fn twice_delivered_or_twice_stored_is_doubled() {
        let ledger = after(&[5], &[(0, 5, 0), (0, 5, 0), (1, 5, 0)]);
        assert_eq!(faults(&ledger), (0, 1, 0));
        let ledger = after(&[5], &[(0, 5, 0), (0, 6, 0), (1, 5, 0), (1, 6, 0)]);
        assert_eq!(faults(&ledger), (0, 1, 0));
        // Told of one place, found in another.
        let ledger = after(&[6], &[(0, 5, 0), (1, 5, 0)]);
        assert_eq!(faults(&ledger), (0, 1, 0));
    }

    #[test]
    fn a_refused_message_is_not_lost_and_its_sender_hears_of_it() {
        let mut ledger = Ledger::new(0, 2, Until::Acknowledged, Arc::default());
        let (number, _, mut next) = ledger.begin(Instant::now());
        assert!(!ledger.is_settled());
        ledger.refused(number, &Refused::new("rate_limited", Some(3)));
        assert_eq!(next.try_recv(), Ok(Err(Duration::from_secs(3))));
        assert_eq!((ledger.is_settled(), ledger.refused.of("rate_limited")), (true, 1));
    }

    #[test]
    fn the_next_may_follow_when_it_is_time() {
        let now = Instant::now();
        for (until, before_arrival) in [(Until::Acknowledged, true), (Until::Delivered, false)] {
            let mut ledger = Ledger::new(0, 2, until, Arc::default());
            let (number, _, mut next) = ledger.begin(now);
            ledger.arrived(0, 1, Some(number), now);
            ledger.accepted(number, 1, now);
            assert_eq!(next.try_recv().is_ok(), before_arrival);
            ledger.arrived(1, 1, Some(number), now);
            assert_eq!(next.try_recv().is_ok(), !before_arrival);
        }
    }

    #[test]
    fn what_counts_is_what_happens_in_the_window() {
        let tally = Arc::new(Tally::default());
        let from = Instant::now() + Duration::from_secs(10);
        tally.begin(Window { from, to: from + Duration::from_secs(10) });
        let mut ledger = Ledger::new(0, 2, Until::Acknowledged, Arc::clone(&tally));
        for (seq, seconds) in [(1, -5), (2, 5), (3, 9)] {
            let by = Duration::from_secs(i64::unsigned_abs(seconds));
            let at = if seconds < 0 { from.checked_sub(by).unwrap() } else { from + by };
            let (number, ..) = ledger.begin(at);
            ledger.accepted(number, seq, at + Duration::from_secs(2));
            ledger.arrived(0, seq, Some(number), at + Duration::from_secs(6));
            ledger.arrived(1, seq, Some(number), at + Duration::from_secs(6));
        }
        let counts = tally.counts();
        // The first arrives in the window, the last one after it.
        assert_eq!((counts.acknowledged, counts.delivered), (1, 2));
        assert_eq!((counts.acks.latencies().count, counts.deliveries.latencies().count), (2, 2));
    }
}
