//! What a device knows: a pure fold of what its socket said and of the answers to what it asked. It says what to ask;
//! who asks is `device`.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use serde_json::{Value, json};

use super::chat::{Chat, Logged};

/// What there is to ask.
#[derive(Debug, Clone, PartialEq)]
pub enum Need {
    /// `sync` from these cursors.
    Sync(BTreeMap<String, u64>),
    /// The list of chats.
    List,
    /// A chat and its whole history.
    Load(String),
    /// A chat, for what is no event of its log.
    Refresh(String),
    /// `presence:subscribe`.
    Watch(Vec<String>),
}

/// A question and when it was asked: what has happened since then beats the answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub need: Need,
    pub asked: u64,
}

/// An answer, or that there is none.
#[derive(Debug)]
pub enum Answer {
    Synced(Value),
    Listed(Vec<String>),
    /// The chat, unless it is none of ours, with its messages.
    Loaded(Option<(Value, Vec<Value>)>),
    Refreshed(Option<Value>),
    Watched(Value),
    /// Not now.
    Failed,
}

#[derive(Debug, Default)]
pub struct View {
    pub me: String,
    pub chats: BTreeMap<String, Chat>,
    pub presence: BTreeMap<String, Value>,
    /// Whose presence is wanted.
    pub watched: BTreeSet<String>,
    /// Counts what happens.
    clock: u64,
    connected_at: Option<u64>,
    loading: BTreeMap<String, Loading>,
    syncing: bool,
    sync_again: bool,
    /// When an event last spoke of somebody's presence.
    presence_at: BTreeMap<String, u64>,
}

/// A chat that is being loaded.
#[derive(Debug, Default)]
struct Loading {
    since: u64,
    /// Events of its log wait,
    waiting: Vec<Logged>,
    /// and what is said beside the log of a chat that is new to us is kept.
    beside: Chat,
}

impl View {
    pub fn new(me: &str, watched: BTreeSet<String>) -> Self {
        Self { me: me.to_owned(), watched, ..Self::default() }
    }

    pub fn connected(&self) -> bool {
        self.connected_at.is_some()
    }

    /// An event of the socket; `connect` and `disconnect` are among them.
    pub fn hear(&mut self, event: &str, args: &[Value]) -> Vec<Question> {
        self.clock += 1;
        let data = args.first().unwrap_or(&Value::Null);
        let chat = data["chatId"].as_str().unwrap_or_default();
        match (event, args) {
            ("connect", _) => self.connect(),
            ("disconnect", _) => {
                self.disconnect();
                Vec::new()
            }
            ("chat:joined", _) => self.joined(data),
            ("chat:left", _) => {
                self.drop_chat(chat);
                Vec::new()
            }
            ("chat:cursor", _) => {
                let behind = self.chats.get(chat).is_some_and(|chat| Some(chat.cursor) < data["cursor"].as_u64());
                if behind { self.sync() } else { Vec::new() }
            }
            ("message:read" | "message:delivered", _) => {
                if let Some(chat) = self.beside(chat) {
                    chat.mark(data["userId"].as_str().unwrap(), &receipt_of(event, data));
                }
                Vec::new()
            }
            ("typing", _) => {
                let said = (data["typing"] == true, self.clock);
                if let Some(chat) = self.beside(chat) {
                    chat.typing.insert(data["userId"].as_str().unwrap().to_owned(), said);
                }
                Vec::new()
            }
            ("presence", _) => {
                let user = data["userId"].as_str().unwrap().to_owned();
                self.presence_at.insert(user.clone(), self.clock);
                self.presence.insert(user, data.clone());
                Vec::new()
            }
            (_, [_, at]) if at["cursor"].is_u64() => {
                self.take(Logged::new(event, data, at["cursor"].as_u64().unwrap(), at["prev"].as_u64().unwrap()))
            }
            _ => Vec::new(),
        }
    }

    /// Where to keep what is said beside the log of a chat.
    fn beside(&mut self, id: &str) -> Option<&mut Chat> {
        let loading = self.loading.get_mut(id).map(|loading| &mut loading.beside);
        self.chats.get_mut(id).or(loading)
    }

    /// The answer to a question.
    pub fn learn(&mut self, question: &Question, answer: Answer) -> Vec<Question> {
        self.clock += 1;
        let current = self.connected_at.is_some_and(|since| question.asked >= since);
        match (&question.need, answer) {
            // Whatever was asked on a connection that is no more is asked on the next one, if it still matters.
            _ if !current => Vec::new(),
            (Need::Sync(_), Answer::Failed) => {
                self.syncing = false;
                self.sync()
            }
            (Need::Sync(asked), Answer::Synced(pages)) => self.synced(asked, &pages),
            (Need::List, Answer::Listed(chats)) => {
                let new: Vec<String> = chats.into_iter().filter(|chat| !self.chats.contains_key(chat)).collect();
                new.iter().flat_map(|chat| self.load(chat)).collect()
            }
            (Need::Load(chat), Answer::Loaded(loaded)) => self.loaded(chat, question.asked, loaded),
            (Need::Refresh(chat), Answer::Refreshed(Some(fresh))) => {
                if let Some(chat) = self.chats.get_mut(chat) {
                    chat.merge(&fresh, question.asked);
                }
                Vec::new()
            }
            (Need::Watch(_), Answer::Watched(presences)) => {
                for one in presences.as_array().into_iter().flatten() {
                    let user = one["userId"].as_str().unwrap().to_owned();
                    if self.presence_at.get(&user).is_none_or(|at| *at <= question.asked) {
                        self.presence.insert(user, one.clone());
                    }
                }
                Vec::new()
            }
            (need, Answer::Failed) => vec![self.ask(need.clone())],
            _ => Vec::new(),
        }
    }

    /// Wants somebody's presence from now on; the question, if there is a connection to ask on.
    pub fn watch(&mut self, user: &str) -> Option<Question> {
        self.watched.insert(user.to_owned());
        self.connected().then(|| self.ask(Need::Watch(vec![user.to_owned()])))
    }

    /// The client is replaced by one that is not connected yet.
    pub fn disconnect(&mut self) {
        self.connected_at = None;
        self.loading.clear();
        (self.syncing, self.sync_again) = (false, false);
    }

    fn ask(&self, need: Need) -> Question {
        Question { need, asked: self.clock }
    }

    fn connect(&mut self) -> Vec<Question> {
        self.disconnect();
        self.connected_at = Some(self.clock);
        let mut questions = self.sync();
        questions.extend(self.chats.keys().map(|chat| self.ask(Need::Refresh(chat.clone()))));
        questions.push(self.ask(Need::List));
        if !self.watched.is_empty() {
            questions.push(self.ask(Need::Watch(self.watched.iter().cloned().collect())));
        }
        questions
    }

    fn sync(&mut self) -> Vec<Question> {
        if mem::replace(&mut self.syncing, true) {
            self.sync_again = true;
            return Vec::new();
        }
        self.sync_again = false;
        let cursors = self.chats.iter().map(|(id, chat)| (id.clone(), chat.cursor)).collect();
        vec![self.ask(Need::Sync(cursors))]
    }

    fn synced(&mut self, asked: &BTreeMap<String, u64>, pages: &Value) -> Vec<Question> {
        let mut questions = Vec::new();
        for id in asked.keys() {
            let page = &pages[id];
            // Not ours any more, or it has to be fetched afresh; asking tells which.
            if page.is_null() || page["reset"] == true {
                questions.extend(self.load(id));
                continue;
            }
            for event in page["events"].as_array().unwrap() {
                let number = |name: &str| event[name].as_u64().unwrap();
                let logged =
                    Logged::new(event["event"].as_str().unwrap(), &event["data"], number("cursor"), number("prev"));
                questions.extend(self.apply(id, logged));
            }
            let waits = self.chats.get(id).is_some_and(|chat| !chat.early.is_empty());
            self.sync_again |= waits || page["hasMore"] == true;
        }
        self.syncing = false;
        if self.sync_again {
            questions.extend(self.sync());
        }
        questions
    }

    /// A log event of the socket.
    fn take(&mut self, logged: Logged) -> Vec<Question> {
        let Some(id) = logged.data["chatId"].as_str().map(str::to_owned) else { return Vec::new() };
        let mut questions = self.apply(&id, logged);
        if self.chats.get(&id).is_some_and(|chat| !chat.early.is_empty()) && !self.loading.contains_key(&id) {
            questions.extend(self.sync());
        }
        questions
    }

    fn apply(&mut self, id: &str, logged: Logged) -> Vec<Question> {
        if let Some(loading) = self.loading.get_mut(id) {
            loading.waiting.push(logged);
            return Vec::new();
        }
        let Some(chat) = self.chats.get_mut(id) else { return Vec::new() };
        chat.early.insert(logged.cursor, logged);
        let applied = chat.advance();
        if applied.deleted {
            self.drop_chat(id);
        }
        // Who is added may have been here before, and have read.
        if applied.added && self.connected() { vec![self.ask(Need::Refresh(id.to_owned()))] } else { Vec::new() }
    }

    fn joined(&mut self, chat: &Value) -> Vec<Question> {
        let (id, cursor) = (chat["id"].as_str().unwrap(), chat["cursor"].as_u64().unwrap());
        if self.chats.get(id).is_some_and(|chat| chat.cursor >= cursor) { Vec::new() } else { self.load(id) }
    }

    fn load(&mut self, id: &str) -> Vec<Question> {
        self.clock += 1;
        // A load under way is void now.
        self.loading.entry(id.to_owned()).or_default().since = self.clock;
        vec![self.ask(Need::Load(id.to_owned()))]
    }

    fn loaded(&mut self, id: &str, asked: u64, loaded: Option<(Value, Vec<Value>)>) -> Vec<Question> {
        if self.loading.get(id).is_none_or(|loading| loading.since > asked) {
            return Vec::new();
        }
        let Loading { waiting, beside, .. } = self.loading.remove(id).unwrap();
        let Some((fresh, messages)) = loaded else {
            self.drop_chat(id);
            return Vec::new();
        };
        let mut chat = Chat::new(&fresh, messages);
        chat.keep(self.chats.remove(id).unwrap_or(beside));
        chat.merge(&fresh, asked);
        self.chats.insert(id.to_owned(), chat);
        let mut questions: Vec<Question> = waiting.into_iter().flat_map(|logged| self.apply(id, logged)).collect();
        if self.chats.get(id).is_some_and(|chat| !chat.early.is_empty()) {
            questions.extend(self.sync());
        }
        questions
    }

    fn drop_chat(&mut self, id: &str) {
        self.chats.remove(id);
        self.loading.remove(id);
    }
}

fn receipt_of(event: &str, data: &Value) -> Value {
    match event {
        "message:read" => json!({ "seen": data["seq"], "seenAt": data["at"] }),
        _ => json!({ "delivered": data["seq"] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(user: &str, seq: u64) -> Value {
        json!({ "userId": user, "delivered": seq, "seen": seq, "seenAt": "t" })
    }

    #[test]
    fn what_is_said_of_a_new_chat_while_it_is_loaded_is_kept() {
        let mut view = View::new("anna", BTreeSet::new());
        view.hear("connect", &[]);
        let load = view.hear("chat:joined", &[json!({ "id": "c", "cursor": 7 })]).remove(0);
        assert_eq!(load.need, Need::Load("c".to_owned()));
        view.hear("message:read", &[json!({ "chatId": "c", "userId": "ben", "seq": 5, "at": "t" })]);
        view.hear("typing", &[json!({ "chatId": "c", "userId": "ben", "typing": false })]);
        // As it was before that.
        let chat = json!({
            "id": "c", "type": "group", "name": "Group", "cursor": 7, "members": [],
            "receipts": [receipt("ben", 3), receipt("carl", 4)], "typing": ["ben", "carl"],
        });
        view.learn(&load, Answer::Loaded(Some((chat, Vec::new()))));
        let chat = &view.chats["c"];
        assert_eq!([chat.receipts["ben"].seen, chat.receipts["carl"].seen], [5, 4]);
        assert_eq!([chat.typing["ben"].0, chat.typing["carl"].0], [false, true]);
    }
}
