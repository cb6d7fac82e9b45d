//! What became of each message of one chat: the answer its sender got, and when it arrived at which member.

use std::{collections::BTreeMap, time::Instant};

use tokio::sync::oneshot;

/// The members of a direct chat, by their place in it.
pub const MEMBERS: usize = 2;

/// The book of one chat. Messages are numbered from 0 in the order of their sending; the two members take turns.
#[derive(Debug)]
pub struct Ledger {
    /// The `seq` that each member's socket has to see next.
    expected: [u64; MEMBERS],
    pub messages: Vec<Message>,
    /// Arrivals with another `seq` than the one that follows the last.
    pub out_of_order: u64,
    /// By error code.
    pub refused: BTreeMap<String, u64>,
}

/// One message.
#[derive(Debug)]
pub struct Message {
    /// Who sends it.
    pub sender: usize,
    /// When it was to be sent; a sender that lags behind does not shorten the time it takes.
    pub intended: Instant,
    pub answer: Answer,
    /// When it was read from each member's socket.
    pub arrived: [Option<Instant>; MEMBERS],
    /// It is in the chat in two places, or a member got it twice.
    pub doubled: bool,
    seq: Option<u64>,
    waiting: Option<oneshot::Sender<bool>>,
}

/// What the sender was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet.
    Awaited,
    Accepted(Instant),
    Refused,
}

impl Ledger {
    /// A chat with so many messages already.
    pub fn new(last_seq: u64) -> Self {
        Self { expected: [last_seq + 1; MEMBERS], messages: Vec::new(), out_of_order: 0, refused: BTreeMap::new() }
    }

    /// Enters a message that is about to be sent: its number, who sends it, and whether it was accepted, when known.
    pub fn begin(&mut self, intended: Instant) -> (usize, usize, oneshot::Receiver<bool>) {
        let number = self.messages.len();
        let sender = number % MEMBERS;
        let (waiting, answered) = oneshot::channel();
        self.messages.push(Message {
            sender,
            intended,
            answer: Answer::Awaited,
            arrived: [None; MEMBERS],
            doubled: false,
            seq: None,
            waiting: Some(waiting),
        });
        (number, sender, answered)
    }

    /// Its sender was told that it is stored.
    pub fn accepted(&mut self, number: usize, seq: u64, at: Instant) {
        self.answered(number, Answer::Accepted(at));
        if let Some(message) = self.messages.get_mut(number) {
            message.is_stored_as(seq);
        }
    }

    /// Its sender was told that it is not.
    pub fn refused(&mut self, number: usize, code: &str) {
        self.answered(number, Answer::Refused);
        *self.refused.entry(code.to_owned()).or_default() += 1;
    }

    /// A message arrived at a member; `number` is `None` where we have not sent it.
    pub fn arrived(&mut self, member: usize, seq: u64, number: Option<usize>, at: Instant) {
        let mut again = false;
        if let Some(message) = number.and_then(|number| self.messages.get_mut(number)) {
            again = message.arrived[member].is_some();
            message.arrived[member].get_or_insert(at);
            message.doubled |= again;
            message.is_stored_as(seq);
        }
        let expected = &mut self.expected[member];
        if seq != *expected && !again {
            self.out_of_order += 1;
        }
        *expected = (*expected).max(seq + 1);
    }

    /// Whether nothing is awaited any more: each message is answered, and the accepted ones have arrived.
    pub fn is_settled(&self) -> bool {
        self.messages.iter().all(|message| message.answer != Answer::Awaited && !message.is_lost())
    }

    fn answered(&mut self, number: usize, answer: Answer) {
        let Some(message) = self.messages.get_mut(number) else { return };
        message.answer = answer;
        if let Some(waiting) = message.waiting.take() {
            // Nobody waits where the rate is fixed.
            let _ = waiting.send(matches!(answer, Answer::Accepted(_)));
        }
    }
}

impl Message {
    /// It was accepted, but one of the members does not have it (yet).
    pub fn is_lost(&self) -> bool {
        matches!(self.answer, Answer::Accepted(_)) && self.arrived.contains(&None)
    }

    /// When it arrived at the other member.
    pub fn delivered(&self) -> Option<Instant> {
        self.arrived[1 - self.sender]
    }

    /// All who say where it is in the chat should say the same.
    fn is_stored_as(&mut self, seq: u64) {
        self.doubled |= *self.seq.get_or_insert(seq) != seq;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chat with 4 messages before, and what has happened to further ones as `(member, seq, number)`.
    fn after(accepted: &[u64], arrivals: &[(usize, u64, usize)]) -> Ledger {
        let now = Instant::now();
        let mut ledger = Ledger::new(4);
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
        let count = |fault: fn(&Message) -> bool| ledger.messages.iter().filter(|message| fault(message)).count();
        (count(Message::is_lost), count(|message| message.doubled), ledger.out_of_order)
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
        let mut ledger = Ledger::new(0);
        let (number, _, mut answer) = ledger.begin(Instant::now());
        assert!(!ledger.is_settled());
        ledger.refused(number, "rate_limited");
        assert_eq!(answer.try_recv(), Ok(false));
        assert_eq!((ledger.is_settled(), ledger.refused["rate_limited"]), (true, 1));
    }
}
