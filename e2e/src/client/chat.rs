//! One chat as a device knows it: a fold of its log, and what is said beside it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::history::Entry;

/// An event of the log with its place.
#[derive(Debug, Clone)]
pub struct Logged {
    pub event: String,
    pub data: Value,
    pub cursor: u64,
    pub prev: u64,
}

impl Logged {
    pub fn new(event: &str, data: &Value, cursor: u64, prev: u64) -> Self {
        Self { event: event.to_owned(), data: data.clone(), cursor, prev }
    }
}

#[derive(Debug, Default)]
pub struct Chat {
    pub cursor: u64,
    pub name: Value,
    pub kind: Value,
    pub members: BTreeMap<String, Value>,
    pub messages: BTreeMap<u64, Value>,
    pub receipts: BTreeMap<String, Receipt>,
    /// Whether they type, and when that was said.
    pub typing: BTreeMap<String, (bool, u64)>,
    /// Events that wait for those before them.
    pub early: BTreeMap<u64, Logged>,
}

#[derive(Debug, Default, Clone)]
pub struct Receipt {
    pub delivered: u64,
    pub seen: u64,
    pub seen_at: Value,
}

/// What some events led to.
#[derive(Debug, Default)]
pub struct Applied {
    pub added: bool,
    pub deleted: bool,
}

impl Chat {
    /// As it was fetched: `messages` may be ahead of the chat's cursor, events after it are applied to them again.
    pub fn new(fresh: &Value, messages: Vec<Value>) -> Self {
        let members = fresh["members"].as_array().unwrap();
        Self {
            cursor: fresh["cursor"].as_u64().unwrap(),
            name: fresh["name"].clone(),
            kind: fresh["type"].clone(),
            members: members.iter().map(|member| (text(&member["userId"]), member.clone())).collect(),
            messages: messages.into_iter().map(|message| (message["seq"].as_u64().unwrap(), message)).collect(),
            ..Self::default()
        }
    }

    /// As its first event makes it; `None` if this is another one.
    pub fn begin(first: &Entry) -> Option<Self> {
        let Entry { cursor, event, data, .. } = first;
        if event != "chat:created" {
            return None;
        }
        let mut fresh = data.clone();
        fresh["cursor"] = (*cursor).into();
        Some(Self::new(&fresh, Vec::new()))
    }

    /// Takes in the next event of its log.
    pub fn follow(&mut self, next: &Entry) {
        self.cursor = next.cursor;
        self.apply(&next.event, &next.data, &mut Applied::default());
    }

    /// What is no part of the log, from before it was fetched.
    pub fn keep(&mut self, before: Self) {
        self.receipts = before.receipts;
        self.typing = before.typing;
    }

    /// Takes in what is no part of the log from an answer, unless something has been heard since it was asked for.
    pub fn merge(&mut self, fresh: &Value, asked: u64) {
        for receipt in fresh["receipts"].as_array().into_iter().flatten() {
            self.mark(receipt["userId"].as_str().unwrap(), receipt);
        }
        let now: Vec<String> = fresh["typing"].as_array().into_iter().flatten().map(text).collect();
        self.typing.retain(|user, (_, at)| *at > asked || now.contains(user));
        for user in now {
            self.typing.entry(user).or_insert((true, asked));
        }
    }

    /// Receipts only go forward, and what was seen was delivered.
    pub fn mark(&mut self, user: &str, said: &Value) {
        let number = |name: &str| said[name].as_u64().unwrap_or_default();
        let receipt = self.receipts.entry(user.to_owned()).or_default();
        if number("seen") > receipt.seen {
            receipt.seen = number("seen");
            receipt.seen_at = said["seenAt"].clone();
        }
        receipt.delivered = receipt.delivered.max(number("delivered")).max(receipt.seen);
    }

    /// Applies the events that wait, in order and each once, until one is missing.
    pub fn advance(&mut self) -> Applied {
        let mut applied = Applied::default();
        while let Some(first) = self.early.first_entry() {
            if first.get().cursor > self.cursor && first.get().prev > self.cursor {
                break;
            }
            let logged = first.remove();
            if logged.cursor > self.cursor {
                self.cursor = logged.cursor;
                self.apply(&logged.event, &logged.data, &mut applied);
            }
        }
        applied
    }

    fn apply(&mut self, event: &str, data: &Value, applied: &mut Applied) {
        let seq = data["seq"].as_u64().unwrap_or_default();
        match event {
            "message:new" => {
                self.messages.entry(seq).or_insert_with(|| data.clone());
            }
            "chat:members" => {
                self.messages.entry(seq).or_insert_with(|| data.clone());
                let change = &data["change"];
                let all = |name: &str| change[name].as_array().into_iter().flatten().cloned().collect::<Vec<_>>();
                for user in all("removed") {
                    self.members.remove(&text(&user));
                    self.receipts.remove(&text(&user));
                }
                for member in all("added").into_iter().chain(all("roles")) {
                    self.members.insert(text(&member["userId"]), member);
                }
                applied.added |= !all("added").is_empty();
            }
            "chat:updated" if !data["name"].is_null() => self.name = data["name"].clone(),
            "chat:deleted" => applied.deleted = true,
            event => {
                if let Some(message) = self.messages.get_mut(&seq) {
                    change(message, event, data);
                }
            }
        }
    }

    /// What others wrote after what this user has seen and after they came.
    pub fn unread(&self, me: &str) -> usize {
        self.unseen(me).count()
    }

    /// The number of the latest of these.
    pub fn latest_unread(&self, me: &str) -> Option<u64> {
        self.unseen(me).next_back()
    }

    fn unseen<'a>(&'a self, me: &'a str) -> impl DoubleEndedIterator<Item = u64> + 'a {
        let adds_me = |message: &Value| {
            message["change"]["added"].as_array().into_iter().flatten().any(|member| member["userId"] == me)
        };
        let joined = self.messages.iter().rev().find(|(_, message)| adds_me(message)).map_or(0, |(seq, _)| *seq);
        let after = joined.max(self.receipts.get(me).map_or(0, |receipt| receipt.seen));
        let counts = move |message: &Value| {
            message["kind"] == "user" && message["senderId"] != me && message["deletedAt"].is_null()
        };
        self.messages.range(after + 1..).filter(move |(_, message)| counts(message)).map(|(seq, _)| *seq)
    }
}

/// Changes a message as a later event says.
fn change(message: &mut Value, event: &str, data: &Value) {
    match event {
        "message:edited" => {
            for field in ["text", "mentions", "editedAt"] {
                message[field] = data[field].clone();
            }
        }
        "message:deleted" => {
            let rest = json!({ "text": "", "attachments": [], "mentions": [], "reactions": {} });
            message.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            message["deletedAt"] = data["deletedAt"].clone();
        }
        "reaction:added" | "reaction:removed" => {
            let reactions: &mut Map<String, Value> = message["reactions"].as_object_mut().unwrap();
            let emoji = data["emoji"].as_str().unwrap();
            let users = reactions.entry(emoji).or_insert_with(|| json!([])).as_array_mut().unwrap();
            users.retain(|user| *user != data["userId"]);
            if event == "reaction:added" {
                users.push(data["userId"].clone());
            }
            if users.is_empty() {
                reactions.remove(emoji);
            }
        }
        _ => {}
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
