//! What a run did and what was seen of it: plain data, which a checker reads and a person can print.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;

/// Microseconds since the run began.
pub type At = u64;

/// All of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// What was done to the system, for the reader.
    pub faults: Vec<(At, String)>,
    /// What clients asked for. A repeated send is one more of them, with the same `clientId`.
    pub ops: Vec<Op>,
    /// The log as JetStream has it: of each chat by cursor.
    pub log: Vec<Entry>,
    /// The messages of MongoDB.
    pub archive: Vec<Found>,
    /// The bucket `READS`.
    pub reads: Vec<Read>,
    /// What people's notifications say, of those who were asked.
    pub notified: Vec<Notified>,
    /// Somebody who is never there.
    pub absent: Option<Absent>,
    /// What devices heard, each device's in the order in which it came.
    pub heard: Vec<Heard>,
    /// What each device showed at the quiet point, and what a fresh fetch said.
    pub shown: Vec<Shown>,
    /// Chats in which a gateway said that it could not fill a gap, because the log could not be read, and left it to the
    /// clients: they see it by `prev` and catch up.
    pub unfilled: Vec<String>,
    /// Who must be seen as online, or as offline, at the quiet point.
    pub online: Vec<(String, bool)>,
}

/// Somebody asked for something.
#[derive(Debug, Clone, PartialEq)]
pub struct Op {
    pub invoked: At,
    /// When there was an answer, or it was given up.
    pub answered: At,
    pub device: String,
    pub user: String,
    pub chat: String,
    pub what: What,
    pub outcome: Outcome,
}

#[derive(Debug, Clone, PartialEq)]
pub enum What {
    Send { client_id: String },
    Mark { seq: u64, seen: bool },
    Change { seq: u64, change: Change },
}

/// What somebody does to a message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Change {
    Edit { text: String },
    Delete,
    React { emoji: String },
}

#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It holds; a message with this number.
    Acked(u64),
    /// With this code.
    Refused(String),
    /// It may have happened or not, or may happen yet.
    Unknown,
}

/// An event of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub chat: String,
    pub cursor: u64,
    pub event: String,
    pub data: Value,
}

/// A message somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    pub chat: String,
    pub seq: u64,
    pub sender: String,
    pub client_id: String,
    /// Whether a person wrote it: messages of the system have numbers too.
    pub by_person: bool,
    /// As written, RFC 3339.
    pub sent_at: String,
}

/// How far a user has got and seen a chat.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub chat: String,
    pub user: String,
    pub delivered: u64,
    pub seen: u64,
    /// The whole entry.
    pub entry: Value,
}

/// The unread notifications of somebody's messages.
#[derive(Debug, Clone, PartialEq)]
pub struct Notified {
    pub user: String,
    /// By chat: what each of them counts.
    pub counts: BTreeMap<String, Vec<u64>>,
}

/// Somebody who is never there, and what reaches them all the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Absent {
    pub user: String,
    /// By chat: the message that the push which waits for their browser is about.
    pub pushed: BTreeMap<String, u64>,
    /// Letters about what they have not seen, by their `Message-ID`.
    pub letters: BTreeSet<String>,
}

/// A device heard something.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub at: At,
    pub device: String,
    pub said: Said,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// The connection is over: what was heard on it is no promise for what comes. That the next one is there is no such
    /// mark: socket.io-client hands on first what came before the server's word that it is.
    Disconnected,
    /// It joined this chat, whose log was then here.
    Joined { chat: String, cursor: u64 },
    /// It left the chat.
    Left { chat: String },
    /// An event of the log; `print` is the fingerprint of its body.
    Logged { chat: String, cursor: u64, prev: u64, event: String, print: u64 },
    /// `user` has got, or seen, the chat up to here.
    Receipt { chat: String, user: String, seq: u64, seen: bool },
}

/// All that a person sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    pub by: Place,
    pub user: String,
    /// As `client::picture` makes it.
    pub picture: Value,
}

/// Where something was found, or should have been.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    Log,
    Archive,
    /// A fresh fetch as the person of this device.
    Fetch(String),
    /// What this device shows.
    Device(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log => write!(f, "the log"),
            Self::Archive => write!(f, "MongoDB"),
            Self::Fetch(device) => write!(f, "a fetch for {device}"),
            Self::Device(device) => write!(f, "the view of {device}"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edit { text } => write!(f, "the edit to `{text}`"),
            Self::Delete => write!(f, "the deletion"),
            Self::React { emoji } => write!(f, "the reaction {emoji}"),
        }
    }
}

impl Op {
    /// Whether it is a message that was acknowledged.
    pub fn acked_send(&self) -> bool {
        matches!((&self.what, &self.outcome), (What::Send { .. }, Outcome::Acked(_)))
    }
}

impl Found {
    /// A message as JSON, from the log or from a view; `None` if it is none.
    pub fn read(message: &Value) -> Option<Self> {
        let text = |name: &str| message[name].as_str().map(str::to_owned);
        Some(Self {
            chat: text("chatId")?,
            seq: message["seq"].as_u64()?,
            sender: text("senderId")?,
            client_id: text("clientId")?,
            by_person: message["kind"] == "user",
            sent_at: text("sentAt")?,
        })
    }
}

impl Entry {
    /// The message that this event adds to its chat.
    pub fn message(&self) -> Option<Found> {
        ["message:new", "chat:members"].contains(&self.event.as_str()).then(|| Found::read(&self.data)).flatten()
    }
}

/// A fingerprint of a body, the same for the same JSON whatever the order of its fields.
pub fn print(body: &Value) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    body.to_string().hash(&mut hasher);
    hasher.finish()
}

impl Heard {
    /// The chat it is about; `None` for a lost connection, which is about all.
    pub fn chat(&self) -> Option<&str> {
        match &self.said {
            Said::Disconnected => None,
            Said::Joined { chat, .. }
            | Said::Left { chat }
            | Said::Logged { chat, .. }
            | Said::Receipt { chat, .. } => Some(chat),
        }
    }
}
