//! A history in which nothing is wrong, for tests that spoil it.

use serde_json::{Value, json};

use crate::{
    client::{chat::Chat, picture},
    history::{Entry, Found, Heard, History, Notified, Op, Outcome, Place, Read, Said, Shown, What, print},
};

pub const CHAT: &str = "chat";

/// Anna writes `a` and `b`, Ben `c`; both devices hear and show all of it, and Ben has seen two.
pub fn healthy() -> History {
    let member = |user: &str| json!({ "userId": user, "role": "member", "joinedAt": "t0" });
    let members = json!([member("anna"), member("ben")]);
    let created = json!({ "chatId": CHAT, "type": "direct", "name": null, "members": members, "createdAt": "t0" });
    let mut history = History::default();
    history.log.push(Entry { chat: CHAT.to_owned(), cursor: 10, event: "chat:created".to_owned(), data: created });
    for (at, (sender, client_id)) in [("anna", "a"), ("anna", "b"), ("ben", "c")].into_iter().enumerate() {
        let seq = at as u64 + 1;
        history.ops.push(send(sender, client_id, seq * 100, seq * 100 + 50, Outcome::Acked(seq)));
        history.log.push(message(sender, client_id, seq));
    }
    history.ops.push(Op { what: What::Mark { seq: 2, seen: true }, ..send("ben", "", 400, 450, Outcome::Acked(2)) });
    let entry = json!({ "delivered": 2, "seen": 2, "seenAt": "t9" });
    history.reads.push(Read { chat: CHAT.to_owned(), user: "ben".to_owned(), delivered: 2, seen: 2, entry });
    finish(&mut history);
    history
}

/// MongoDB, what was heard and what is shown, as they follow from the log.
pub fn finish(history: &mut History) {
    history.archive = history.log.iter().filter_map(Entry::message).collect();
    history.heard.clear();
    history.shown.clear();
    history.notified.clear();
    for user in ["anna", "ben"] {
        let device = format!("{user}-0");
        let hear = |said| Heard { at: 500, device: device.clone(), said };
        history.heard.push(hear(Said::Disconnected));
        history.heard.push(hear(Said::Joined { chat: CHAT.to_owned(), cursor: 10 }));
        for pair in history.log.windows(2) {
            let (chat, event) = (CHAT.to_owned(), pair[1].event.clone());
            let (cursor, prev, print) = (pair[1].cursor, pair[0].cursor, print(&pair[1].data));
            history.heard.push(hear(Said::Logged { chat, cursor, prev, event, print }));
        }
        let receipt = Said::Receipt { chat: CHAT.to_owned(), user: "ben".to_owned(), seq: 2, seen: true };
        history.heard.push(hear(receipt));
        let picture = picture(history, user);
        let unread = picture["chats"][CHAT]["unread"].as_u64().unwrap();
        let counts = (unread > 0).then(|| (CHAT.to_owned(), vec![unread])).into_iter().collect();
        history.notified.push(Notified { user: user.to_owned(), counts });
        for by in [Place::Fetch(device.clone()), Place::Device(device.clone())] {
            history.shown.push(Shown { by, user: user.to_owned(), picture: picture.clone() });
        }
        history.online.push((user.to_owned(), true));
    }
}

fn picture(history: &History, user: &str) -> Value {
    let mut chat = Chat::begin(&history.log[0]).unwrap();
    history.log[1..].iter().for_each(|entry| chat.follow(entry));
    history.reads.iter().for_each(|read| chat.mark(&read.user, &read.entry));
    let online = json!({ "online": true });
    json!({ "chats": { CHAT: picture::of_chat(user, &chat) }, "presence": { "anna": online, "ben": online } })
}

pub fn send(user: &str, client_id: &str, invoked: u64, answered: u64, outcome: Outcome) -> Op {
    let (device, what) = (format!("{user}-0"), What::Send { client_id: client_id.to_owned() });
    Op { invoked, answered, device, user: user.to_owned(), chat: CHAT.to_owned(), what, outcome }
}

/// An event with this number, at cursor 10 + `seq`.
pub fn message(sender: &str, client_id: &str, seq: u64) -> Entry {
    let data = json!({
        "chatId": CHAT, "seq": seq, "kind": "user", "senderId": sender, "clientId": client_id, "text": client_id,
        "reactions": {}, "sentAt": format!("t{seq}"), "deletedAt": null,
    });
    Entry { chat: CHAT.to_owned(), cursor: 10 + seq, event: "message:new".to_owned(), data }
}

/// A message as it is found.
pub fn found(sender: &str, client_id: &str, seq: u64) -> Found {
    message(sender, client_id, seq).message().unwrap()
}
