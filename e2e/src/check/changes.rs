//! Changes of messages: what was acknowledged is in the log, and nothing changes a message after it was deleted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Violation;
use crate::history::{Change, Entry, History, Outcome, What};

pub fn hold(history: &History) -> Vec<Violation> {
    let mut all = acknowledged_are_logged(history);
    all.extend(what_is_deleted_stays_so(history));
    all
}

/// To have no reaction that is taken back needs no event; everything else does.
fn acknowledged_are_logged(history: &History) -> Vec<Violation> {
    let mut logged: BTreeMap<(&str, u64), Vec<&Entry>> = BTreeMap::new();
    for (entry, seq) in history.log.iter().filter_map(|entry| Some((entry, changed(entry)?))) {
        logged.entry((&entry.chat, seq)).or_default().push(entry);
    }
    let mut all = Vec::new();
    for op in &history.ops {
        let (What::Change { seq, change }, Outcome::Acked(_)) = (&op.what, &op.outcome) else { continue };
        let says = |entry: &&&Entry| match change {
            Change::Edit { text } => entry.event == "message:edited" && entry.data["text"] == **text,
            Change::Delete => entry.event == "message:deleted",
            Change::React { emoji } => {
                entry.event == "reaction:added" && entry.data["emoji"] == **emoji && entry.data["userId"] == *op.user
            }
        };
        if logged.get(&(&op.chat, *seq)).into_iter().flatten().find(says).is_none() {
            let (chat, user, change) = (op.chat.clone(), op.user.clone(), change.clone());
            all.push(Violation::ChangeLost { chat, user, seq: *seq, change });
        }
    }
    all
}

fn what_is_deleted_stays_so(history: &History) -> Vec<Violation> {
    let mut deleted: BTreeSet<(&str, u64)> = BTreeSet::new();
    let mut all = Vec::new();
    for (entry, seq) in history.log.iter().filter_map(|entry| Some((entry, changed(entry)?))) {
        if deleted.contains(&(entry.chat.as_str(), seq)) {
            let (chat, event) = (entry.chat.clone(), entry.event.clone());
            all.push(Violation::ChangedAfterDeleted { chat, seq, cursor: entry.cursor, event });
        }
        if entry.event == "message:deleted" {
            deleted.insert((&entry.chat, seq));
        }
    }
    all
}

/// The message that an event changes.
fn changed(entry: &Entry) -> Option<u64> {
    let changes = ["message:edited", "message:deleted", "reaction:added", "reaction:removed"];
    changes.contains(&entry.event.as_str()).then(|| entry.data.get("seq").and_then(Value::as_u64)).flatten()
}
