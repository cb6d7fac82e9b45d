//! Whether a history keeps Natter's promises: pure. Every promise is a function from the history to its violations.

mod absent;
mod changes;
mod heard;
mod messages;
mod notifications;
mod state;
#[cfg(test)]
mod tests;
mod violation;

#[cfg(test)]
pub mod fixture;

use std::collections::{BTreeMap, BTreeSet};

pub use violation::Violation;

use crate::{
    client::chat::Chat,
    history::{Found, History, Outcome, Place, Read, What},
};

/// All that is wrong, each thing once.
pub fn check(history: &History) -> Vec<Violation> {
    let truth = Truth::of(history);
    let mut all = BTreeSet::new();
    all.extend(messages::everywhere(history, &truth));
    all.extend(messages::in_real_time(history));
    all.extend(changes::hold(history));
    all.extend(heard::once_and_in_order(history));
    all.extend(heard::receipts_forward(history));
    all.extend(state::marks_hold(history));
    all.extend(state::everybody_sees_the_truth(history, &truth));
    all.extend(notifications::tell_what_is_unread(history, &truth));
    all.extend(absent::is_told(history, &truth));
    all.into_iter().collect()
}

/// Whether notifications say what log and receipts of this history do.
pub fn is_notified(history: &History) -> bool {
    notifications::tell_what_is_unread(history, &Truth::of(history)).is_empty()
}

/// Whether who is away has been told what the log of this history says.
pub fn is_absent_told(history: &History) -> bool {
    absent::is_told(history, &Truth::of(history)).is_empty()
}

/// What the log, and what stands beside it, say of each chat.
struct Truth {
    chats: BTreeMap<String, Chat>,
}

impl Truth {
    fn of(history: &History) -> Self {
        let mut chats: BTreeMap<String, Chat> = BTreeMap::new();
        let mut deleted = BTreeSet::new();
        for entry in &history.log {
            if entry.event == "chat:deleted" {
                deleted.insert(&entry.chat);
            }
            match chats.get_mut(&entry.chat) {
                Some(chat) => chat.follow(entry),
                None => {
                    chats.extend(Chat::begin(entry).map(|chat| (entry.chat.clone(), chat)));
                }
            }
        }
        chats.retain(|id, _| !deleted.contains(id));
        for Read { chat, user, entry, .. } in &history.reads {
            if let Some(chat) = chats.get_mut(chat) {
                chat.mark(user, entry);
            }
        }
        Self { chats }
    }

    /// The chats a user is in.
    fn of_user<'a>(&'a self, user: &'a str) -> impl Iterator<Item = (&'a String, &'a Chat)> {
        self.chats.iter().filter(move |(_, chat)| chat.members.contains_key(user))
    }
}

/// A message that somebody sent, once or again and again under the same `clientId`.
struct Sent<'a> {
    chat: &'a str,
    sender: &'a str,
    client_id: &'a str,
    /// When it was asked for first.
    invoked: u64,
    /// The first acknowledgement and the number it told.
    acked: Option<(u64, u64)>,
    /// Other numbers that a later acknowledgement told.
    others: Vec<u64>,
}

fn sent(history: &History) -> Vec<Sent<'_>> {
    let mut all: BTreeMap<(&str, &str, &str), Sent<'_>> = BTreeMap::new();
    for op in &history.ops {
        let What::Send { client_id } = &op.what else { continue };
        let sent = all.entry((&op.chat, &op.user, client_id)).or_insert_with(|| Sent {
            chat: &op.chat,
            sender: &op.user,
            client_id,
            invoked: op.invoked,
            acked: None,
            others: Vec::new(),
        });
        sent.invoked = sent.invoked.min(op.invoked);
        let Outcome::Acked(seq) = op.outcome else { continue };
        match &mut sent.acked {
            None => sent.acked = Some((op.answered, seq)),
            Some((at, known)) => {
                *at = op.answered.min(*at);
                if *known != seq {
                    sent.others.push(seq);
                }
            }
        }
    }
    all.into_values().collect()
}

/// The messages of each place that shows whole chats, and which chats these are.
struct Seen {
    place: Place,
    /// By chat: the number of the first message it has loaded, and what it has.
    chats: BTreeMap<String, (u64, Vec<Found>)>,
}

fn seen(history: &History, truth: &Truth) -> Vec<Seen> {
    let whole = |place: Place, messages: Vec<Found>| {
        // A chat that has nothing there is a chat all the same.
        let mut chats: BTreeMap<String, (u64, Vec<Found>)> =
            history.log.iter().map(|entry| (entry.chat.clone(), (1, Vec::new()))).collect();
        chats.extend(history.ops.iter().filter(|op| op.acked_send()).map(|op| (op.chat.clone(), (1, Vec::new()))));
        for message in messages {
            chats.entry(message.chat.clone()).or_insert_with(|| (1, Vec::new())).1.push(message);
        }
        Seen { place, chats }
    };
    let log = history.log.iter().filter_map(crate::history::Entry::message).collect();
    let mut all = vec![whole(Place::Log, log), whole(Place::Archive, history.archive.clone())];
    for shown in &history.shown {
        let mut chats = BTreeMap::new();
        for (id, _) in truth.of_user(&shown.user) {
            let messages = shown.picture["chats"][id]["messages"].as_object();
            let found: Vec<Found> = messages.into_iter().flat_map(|all| all.values()).filter_map(Found::read).collect();
            // A device may have loaded only the newest ones.
            let first = match shown.by {
                Place::Device(_) => found.iter().map(|message| message.seq).min().unwrap_or(1),
                _ => 1,
            };
            chats.insert(id.clone(), (first, found));
        }
        all.push(Seen { place: shown.by.clone(), chats });
    }
    for place in &mut all {
        place.chats.values_mut().for_each(|(_, found)| found.sort());
    }
    all
}
