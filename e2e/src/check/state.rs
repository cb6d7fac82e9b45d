//! What people see at the quiet point: chats, members, messages, receipts and unread counts as the log has them, and
//! everybody's presence as it is.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Truth, Violation};
use crate::{
    client::picture::{self, Difference},
    history::{History, Outcome, Place, Shown, What},
};

/// What was marked and acknowledged stays marked.
pub fn marks_hold(history: &History) -> Vec<Violation> {
    let mut told: BTreeMap<(&str, &str, bool), u64> = BTreeMap::new();
    for op in &history.ops {
        if let (What::Mark { seq, seen }, Outcome::Acked(_)) = (&op.what, &op.outcome) {
            let told = told.entry((&op.chat, &op.user, *seen)).or_default();
            *told = (*told).max(*seq);
        }
    }
    let reads: BTreeMap<(&str, &str), (u64, u64)> = history
        .reads
        .iter()
        .map(|read| ((read.chat.as_str(), read.user.as_str()), (read.delivered, read.seen)))
        .collect();
    let mut all = Vec::new();
    for ((chat, user, seen), told) in told {
        let (delivered, read) = reads.get(&(chat, user)).copied().unwrap_or_default();
        let found = if seen { read } else { delivered };
        if found < told {
            let (chat, user) = (chat.to_owned(), user.to_owned());
            all.push(Violation::MarkForgotten { chat, user, told, found });
        }
    }
    all
}

/// A fetch says what the log says, a device what its person's fetch says, and both who is there.
pub fn everybody_sees_the_truth(history: &History, truth: &Truth) -> Vec<Violation> {
    let mut all = Vec::new();
    for shown in &history.shown {
        let fetched = |other: &&Shown| match (&shown.by, &other.by) {
            (Place::Device(device), Place::Fetch(fetched)) => device == fetched,
            _ => false,
        };
        let fetched = history.shown.iter().find(fetched).map(|fetched| fetched.picture.clone());
        let mut expected = fetched.unwrap_or_else(|| picture_of(truth, &shown.user, &shown.picture));
        picture::only_loaded(&mut expected, &shown.picture);
        let differences = picture::differences(shown.picture.clone(), expected);
        all.extend(differences.into_iter().map(|difference| violation(&shown.by, difference)));
        for (user, online) in &history.online {
            let said = &shown.picture["presence"][user];
            if !said.is_null() && said["online"] != *online {
                let said = format!("{user} is {}, but shown as {said}", if *online { "online" } else { "offline" });
                all.push(Violation::Presence { place: shown.by.clone(), user: user.clone(), said });
            }
        }
    }
    all
}

fn picture_of(truth: &Truth, user: &str, shown: &Value) -> Value {
    let chats: Map<String, Value> =
        truth.of_user(user).map(|(id, chat)| (id.clone(), picture::of_chat(user, chat))).collect();
    // The log knows nothing of presence and typing.
    let mut picture = serde_json::json!({ "chats": chats, "presence": shown["presence"] });
    for (id, chat) in shown["chats"].as_object().into_iter().flatten() {
        if picture["chats"][id].is_object() {
            picture["chats"][id]["typing"] = chat["typing"].clone();
        }
    }
    picture
}

fn violation(place: &Place, difference: Difference) -> Violation {
    let Difference { path, said } = difference;
    let place = place.clone();
    let mut parts = path.split('/').skip(1).map(str::to_owned);
    let (what, of, part) = (parts.next(), parts.next().unwrap_or_default(), parts.next());
    match (what.as_deref(), part.as_deref()) {
        (Some("presence"), _) => Violation::Presence { place, user: of, said },
        (_, Some("unread")) => Violation::Unread { place, chat: of, said },
        (_, Some("receipts")) => Violation::Receipts { place, chat: of, said },
        (_, Some("members")) => Violation::Members { place, chat: of, said },
        (_, Some("messages")) => Violation::Messages { place, chat: of, said },
        (_, None) => Violation::Chats { place, chat: of, said },
        _ => Violation::Other { place, chat: of, said },
    }
}
