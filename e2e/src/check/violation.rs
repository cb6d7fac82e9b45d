//! What may be wrong, with what it takes to find it in the history.

use std::fmt;

use crate::history::{Change, Place};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// It was acknowledged and is not there.
    Lost {
        place: Place,
        chat: String,
        client_id: String,
        seq: u64,
    },
    /// It is there more than once.
    Doubled {
        place: Place,
        chat: String,
        client_id: String,
        seqs: Vec<u64>,
    },
    /// It was acknowledged as `told` and is `found`.
    Renumbered {
        place: Place,
        chat: String,
        client_id: String,
        told: u64,
        found: u64,
    },
    /// A message that nobody sent.
    FromNobody {
        place: Place,
        chat: String,
        client_id: String,
        seq: u64,
    },
    /// `seq` follows `after`, with something missing between.
    Gap {
        place: Place,
        chat: String,
        after: u64,
        seq: u64,
    },
    /// Two messages have this number, in one place or in the log and another.
    TwoAt {
        place: Place,
        chat: String,
        seq: u64,
        client_ids: [String; 2],
    },
    /// `second` was asked for after `first` was acknowledged, and stands before it.
    OutOfRealTime {
        chat: String,
        first: String,
        second: String,
    },
    /// A message was sent before the one that it follows.
    TimeBackward {
        chat: String,
        seq: u64,
    },
    /// A change was acknowledged and is not in the log.
    ChangeLost {
        chat: String,
        user: String,
        seq: u64,
        change: Change,
    },
    /// An event changes a message that was deleted before.
    ChangedAfterDeleted {
        chat: String,
        seq: u64,
        cursor: u64,
        event: String,
    },
    /// A connection heard an event again, or after a later one.
    HeardTwice {
        device: String,
        chat: String,
        cursor: u64,
    },
    /// A connection heard an event that does not follow what it heard before.
    HeardGap {
        device: String,
        chat: String,
        after: u64,
        prev: u64,
    },
    /// A device heard an event that the log does not have.
    HeardOther {
        device: String,
        chat: String,
        cursor: u64,
    },
    /// A connection heard a receipt go back.
    ReceiptBackward {
        device: String,
        chat: String,
        user: String,
        from: u64,
        to: u64,
    },
    /// What was marked up to `told` is marked up to `found`.
    MarkForgotten {
        chat: String,
        user: String,
        told: u64,
        found: u64,
    },
    /// A fetch or a device says something else than the log.
    Unread {
        place: Place,
        chat: String,
        said: String,
    },
    Receipts {
        place: Place,
        chat: String,
        said: String,
    },
    Members {
        place: Place,
        chat: String,
        said: String,
    },
    Messages {
        place: Place,
        chat: String,
        said: String,
    },
    Chats {
        place: Place,
        chat: String,
        said: String,
    },
    /// Typing that goes on, a name.
    Other {
        place: Place,
        chat: String,
        said: String,
    },
    Presence {
        place: Place,
        user: String,
        said: String,
    },
    /// Not one unread notification of what is unread, or one of nothing.
    Notifications {
        chat: String,
        user: String,
        unread: u64,
        counts: Vec<u64>,
    },
    /// The push that waits for somebody who is away is not about the latest message.
    Pushed {
        chat: String,
        user: String,
        latest: u64,
        pushed: Option<u64>,
    },
    /// Not one letter to somebody who is away and has something unread.
    Letters {
        user: String,
        letters: usize,
    },
}

impl Violation {
    /// One word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Lost { .. } => "lost",
            Self::Doubled { .. } => "doubled",
            Self::Renumbered { .. } => "renumbered",
            Self::FromNobody { .. } => "from-nobody",
            Self::Gap { .. } => "gap",
            Self::TwoAt { .. } => "two-at-one-number",
            Self::OutOfRealTime { .. } => "out-of-real-time",
            Self::TimeBackward { .. } => "time-backward",
            Self::ChangeLost { .. } => "change-lost",
            Self::ChangedAfterDeleted { .. } => "changed-after-deleted",
            Self::HeardTwice { .. } => "heard-twice",
            Self::HeardGap { .. } => "heard-gap",
            Self::HeardOther { .. } => "heard-other",
            Self::ReceiptBackward { .. } => "receipt-backward",
            Self::MarkForgotten { .. } => "mark-forgotten",
            Self::Unread { .. } => "unread",
            Self::Receipts { .. } => "receipts",
            Self::Members { .. } => "members",
            Self::Messages { .. } => "messages",
            Self::Chats { .. } => "chats",
            Self::Other { .. } => "other",
            Self::Presence { .. } => "presence",
            Self::Notifications { .. } => "notifications",
            Self::Pushed { .. } => "pushed",
            Self::Letters { .. } => "letters",
        }
    }

    /// The chat it is about, if it is about one.
    pub fn chat(&self) -> Option<&str> {
        match self {
            Self::Presence { .. } | Self::Letters { .. } => None,
            Self::Lost { chat, .. }
            | Self::Doubled { chat, .. }
            | Self::Renumbered { chat, .. }
            | Self::FromNobody { chat, .. }
            | Self::Gap { chat, .. }
            | Self::TwoAt { chat, .. }
            | Self::OutOfRealTime { chat, .. }
            | Self::TimeBackward { chat, .. }
            | Self::ChangeLost { chat, .. }
            | Self::ChangedAfterDeleted { chat, .. }
            | Self::HeardTwice { chat, .. }
            | Self::HeardGap { chat, .. }
            | Self::HeardOther { chat, .. }
            | Self::ReceiptBackward { chat, .. }
            | Self::MarkForgotten { chat, .. }
            | Self::Unread { chat, .. }
            | Self::Receipts { chat, .. }
            | Self::Members { chat, .. }
            | Self::Messages { chat, .. }
            | Self::Chats { chat, .. }
            | Self::Other { chat, .. }
            | Self::Notifications { chat, .. }
            | Self::Pushed { chat, .. } => Some(chat),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.kind())?;
        if let Some(chat) = self.chat() {
            write!(f, "chat {chat}: ")?;
        }
        match self {
            Self::Lost { place, client_id, seq, .. } => {
                write!(f, "`{client_id}` was acknowledged as {seq} and is not in {place}")
            }
            Self::Doubled { place, client_id, seqs, .. } => write!(f, "`{client_id}` is in {place} as {seqs:?}"),
            Self::Renumbered { place, client_id, told, found, .. } => {
                write!(f, "`{client_id}` was acknowledged as {told} and is {found} in {place}")
            }
            Self::FromNobody { place, client_id, seq, .. } => {
                write!(f, "{seq} in {place} is `{client_id}`, which nobody sent")
            }
            Self::Gap { place, after, seq, .. } => write!(f, "{seq} follows {after} in {place}"),
            Self::TwoAt { place, seq, client_ids: [one, other], .. } => {
                write!(f, "{seq} is `{one}`, and `{other}` in {place}")
            }
            Self::OutOfRealTime { first, second, .. } => {
                write!(f, "`{second}` was sent after `{first}` had been acknowledged, and stands before it")
            }
            Self::TimeBackward { seq, .. } => write!(f, "{seq} was sent before the one it follows, as their times say"),
            Self::ChangeLost { user, seq, change, .. } => {
                write!(f, "{change} of {seq} by {user} was acknowledged and is not in the log")
            }
            Self::ChangedAfterDeleted { seq, cursor, event, .. } => {
                write!(f, "{cursor} is {event} of {seq}, which had been deleted")
            }
            Self::HeardTwice { device, cursor, .. } => {
                write!(f, "{device} heard {cursor} again, or after a later event")
            }
            Self::HeardGap { device, after, prev, .. } => {
                write!(f, "{device} had heard {after} and then what follows {prev}")
            }
            Self::HeardOther { device, cursor, .. } => {
                write!(f, "{device} heard {cursor}, which the log does not have")
            }
            Self::ReceiptBackward { device, user, from, to, .. } => {
                write!(f, "{device} heard the receipt of {user} go from {from} to {to}")
            }
            Self::MarkForgotten { user, told, found, .. } => {
                write!(f, "{user} marked {told}, which was acknowledged, and the receipt is {found}")
            }
            Self::Notifications { user, unread, counts, .. } => {
                write!(f, "{user} has not seen {unread}, and unread notifications that count {counts:?}")
            }
            Self::Pushed { user, latest, pushed, .. } => {
                write!(f, "{user} is away and has not seen {latest}; the push that waits is about {pushed:?}")
            }
            Self::Letters { user, letters } => {
                write!(f, "{user} is away, has something unread, and got {letters} letters")
            }
            Self::Unread { place, said, .. }
            | Self::Receipts { place, said, .. }
            | Self::Members { place, said, .. }
            | Self::Messages { place, said, .. }
            | Self::Chats { place, said, .. }
            | Self::Other { place, said, .. }
            | Self::Presence { place, said, .. } => write!(f, "{place}: {said}"),
        }
    }
}
