//! Comparison: what a device knows and what a fresh fetch over REST says, both as one JSON, and where they differ.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use testkit::rest::Rest;

use super::{chat::Chat, view::View};

/// Where two pictures differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// For instance `/chats/<id>/unread`.
    pub path: String,
    pub said: String,
}

/// What a device shows.
pub fn of(view: &View) -> Value {
    let chats: Map<String, Value> = view.chats.iter().map(|(id, chat)| (id.clone(), of_chat(&view.me, chat))).collect();
    let watched = view.presence.iter().filter(|(user, _)| view.watched.contains(*user));
    json!({ "chats": chats, "presence": watched.collect::<BTreeMap<_, _>>() })
}

/// One chat as this user shows it.
pub fn of_chat(me: &str, chat: &Chat) -> Value {
    let members: Map<String, Value> = chat.members.clone().into_iter().collect();
    let messages: Map<String, Value> =
        chat.messages.iter().map(|(seq, message)| (seq.to_string(), message.clone())).collect();
    let receipts: Map<String, Value> = chat
        .receipts
        .iter()
        .filter(|(user, receipt)| chat.members.contains_key(*user) && receipt.delivered > 0)
        .map(|(user, one)| {
            (user.clone(), json!({ "delivered": one.delivered, "seen": one.seen, "seenAt": one.seen_at }))
        })
        .collect();
    let typing: Vec<&String> = chat.typing.iter().filter(|(_, (typing, _))| *typing).map(|(user, _)| user).collect();
    json!({
        "type": chat.kind, "name": chat.name, "members": members, "messages": messages,
        "receipts": receipts, "unread": chat.unread(me), "typing": typing,
    })
}

/// The same from nothing but fetches; `None` where one fails.
pub async fn fresh(rest: &Rest, me: &str, watched: &[String]) -> Option<Value> {
    let mut all = Map::new();
    for id in chats(rest).await? {
        // Without it: it was left a moment ago.
        let Some((fresh, messages)) = load(rest, &id).await? else { continue };
        let mut chat = Chat::new(&fresh, messages);
        chat.merge(&fresh, 0);
        let mut picture = of_chat(me, &chat);
        picture["unread"] = fresh["unread"].clone();
        all.insert(id, picture);
    }
    let mut presence = Map::new();
    let answer = rest.try_send("POST", "/api/presence", Some(json!({ "userIds": watched }))).await?;
    for one in answer.body.as_array().filter(|_| answer.status == 200)? {
        presence.insert(one["userId"].as_str()?.to_owned(), one.clone());
    }
    Some(json!({ "chats": all, "presence": presence }))
}

/// What one's unread notifications of messages count, by chat.
pub async fn notified(rest: &Rest) -> Option<BTreeMap<String, Vec<u64>>> {
    let (mut counts, mut cursor) = (BTreeMap::<String, Vec<u64>>::new(), String::new());
    loop {
        let page = get(rest, &format!("/api/notifications?unread=true&limit=100{cursor}")).await??;
        let all = page["notifications"].as_array()?.iter();
        for one in all.filter(|one| ["message", "mention", "reply"].iter().any(|kind| one["type"] == *kind)) {
            counts.entry(one["chatId"].as_str()?.to_owned()).or_default().push(one["count"].as_u64()?);
        }
        let Some(next) = page["nextCursor"].as_str() else { return Some(counts) };
        cursor = format!("&cursor={next}");
    }
}

/// The ids of all of one's chats.
pub async fn chats(rest: &Rest) -> Option<Vec<String>> {
    let (mut ids, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = get(rest, &format!("/api/chats?limit=100{cursor}")).await??;
        let chats = page["chats"].as_array()?.iter();
        ids.extend(chats.filter_map(|chat| chat["id"].as_str()).map(str::to_owned));
        let Some(next) = page["nextCursor"].as_str() else { return Some(ids) };
        cursor = format!("&cursor={next}");
    }
}

/// A chat; `None` inside for one that is not one's own.
pub async fn chat(rest: &Rest, id: &str) -> Option<Option<Value>> {
    get(rest, &format!("/api/chats/{id}")).await
}

/// A chat with its whole history.
pub async fn load(rest: &Rest, id: &str) -> Option<Option<(Value, Vec<Value>)>> {
    let Some(fresh) = chat(rest, id).await? else { return Some(None) };
    let (mut messages, mut after) = (Vec::new(), 0);
    loop {
        let Some(page) = get(rest, &format!("/api/messages/{id}?limit=200&after={after}")).await? else {
            return Some(None);
        };
        messages.extend(page["messages"].as_array()?.iter().cloned());
        after = messages.last().map_or(0, |last| last["seq"].as_u64().unwrap_or_default());
        if page["hasMore"] == false {
            return Some(Some((fresh, messages)));
        }
    }
}

/// `None` where it failed for now, `None` inside where there is no such thing.
async fn get(rest: &Rest, path: &str) -> Option<Option<Value>> {
    let answer = rest.try_send("GET", path, None).await?;
    match answer.status {
        200 => Some(Some(answer.body)),
        404 => Some(None),
        _ => None,
    }
}

/// Leaves out what a client that loads only the newest messages does not have.
pub fn only_loaded(fresh: &mut Value, view: &Value) {
    for (id, chat) in fresh["chats"].as_object_mut().unwrap() {
        let seqs = view["chats"][id]["messages"].as_object().into_iter().flat_map(|messages| messages.keys());
        let first: u64 = seqs.filter_map(|seq| seq.parse().ok()).min().unwrap_or_default();
        chat["messages"].as_object_mut().unwrap().retain(|seq, _| seq.parse::<u64>().unwrap() >= first);
    }
}

pub fn nobody_types(picture: &Value) -> bool {
    picture["chats"].as_object().unwrap().values().all(|chat| chat["typing"] == json!([]))
}

/// Where a view differs from what it should be.
pub fn differences(mut view: Value, mut truth: Value) -> Vec<Difference> {
    normalize(&mut view);
    normalize(&mut truth);
    let mut all = Vec::new();
    compare("", &view, &truth, &mut all);
    all
}

/// Who reacted first may differ where a chat was fetched between two reactions.
fn normalize(picture: &mut Value) {
    for chat in picture["chats"].as_object_mut().unwrap().values_mut() {
        for message in chat["messages"].as_object_mut().unwrap().values_mut() {
            for users in message["reactions"].as_object_mut().unwrap().values_mut() {
                users.as_array_mut().unwrap().sort_by(|one, other| one.as_str().cmp(&other.as_str()));
            }
        }
    }
}

fn compare(path: &str, view: &Value, truth: &Value, all: &mut Vec<Difference>) {
    match (view, truth) {
        (Value::Object(view), Value::Object(truth)) => {
            let only_in_truth = truth.keys().filter(|name| !view.contains_key(*name));
            for name in view.keys().chain(only_in_truth) {
                let path = format!("{path}/{name}");
                match (view.get(name), truth.get(name)) {
                    (Some(view), Some(truth)) => compare(&path, view, truth, all),
                    (Some(view), None) => all.push(difference(path, &format!("only here: {view}"))),
                    (None, truth) => {
                        all.push(difference(path, &format!("missing: {}", truth.unwrap_or(&Value::Null))));
                    }
                }
            }
        }
        _ if view == truth => {}
        _ => all.push(difference(path.to_owned(), &format!("it has {view}, the truth is {truth}"))),
    }
}

fn difference(path: String, said: &str) -> Difference {
    Difference { said: format!("{path}: {said}"), path }
}
