//! Who got and saw how much of a chat: the bucket `READS`, one key per member, only ever forward. The bucket republishes
//! each change to the chat's room.

use std::collections::{BTreeMap, HashMap};

use async_nats::HeaderMap;
use contract::{
    ChatId, Done, Refusal, Time, UserId,
    chat::{MAX_NAMED_RECEIPTS, Mark, Receipt, ReceiptCount, ReceiptEntry, ReceiptKind},
    event::Seq,
    headers,
    storage::{READS_BUCKET, chat_user_key, chat_user_of},
};
use service::{KvError, Logged, Nats, absent};

use crate::{App, state::ChatState};

/// Members whose keys are read in one request: the server answers at most 1,024.
const AT_ONCE: usize = 1_000;
/// Messages that a large group's counts are given for.
const COUNTED: usize = 50;

/// What the members of a chat got and saw.
pub type Receipts = BTreeMap<UserId, ReceiptEntry>;

/// `call.chat.mark`
pub async fn mark(app: App, mark: Mark) -> Result<Done, Refusal> {
    let user = mark.actor.user_id;
    let mut state = app.chats.lately_for(mark.chat_id, user).await?;
    if mark.seq > state.last_seq {
        // A message so new that only its readers know of it.
        state = app.chats.current_for(mark.chat_id, user).await?;
    }
    if mark.seq == 0 || mark.seq > state.last_seq {
        return Err(Refusal::field("seq", "there is no such message"));
    }
    let recorded = record(&app.reader.nats, &state, user, mark.kind, mark.seq).await;
    recorded.map_err(|error| absent("the bucket READS", &error))?;
    Ok(Done {})
}

/// Compare-and-set until it holds.
async fn record(nats: &Nats, state: &ChatState, user: UserId, kind: ReceiptKind, seq: Seq) -> Result<(), KvError> {
    let key = chat_user_key(state.id, user);
    loop {
        let values = service::last_values(nats, READS_BUCKET, std::slice::from_ref(&key)).await?;
        let (revision, before) = values.first().map_or((0, None), |value| (value.sequence, parse(value)));
        let Some(entry) = advanced(before.unwrap_or_default(), kind, seq, Time::now()) else { return Ok(()) };
        let Ok(json) = serde_json::to_vec(&entry) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.insert(headers::EVENT, kind.event());
        if !is_named(state) {
            headers.insert(headers::AUDIENCE, headers::AUDIENCE_OWN);
        }
        match nats.put_with_headers_at(READS_BUCKET, &key, json.into(), headers, revision).await {
            Err(KvError::Conflict) => {}
            written => return written.map(|_| ()),
        }
    }
}

/// The entry once everything up to `seq` was delivered or seen; `None` where that is nothing new.
fn advanced(before: ReceiptEntry, kind: ReceiptKind, seq: Seq, now: Time) -> Option<ReceiptEntry> {
    let mut entry = before;
    let mut changed = false;
    // What was seen was also delivered.
    if seq > entry.delivered {
        entry.delivered = seq;
        entry.delivered_at = entry.delivered_at.max(Some(now));
        changed = true;
    }
    if kind == ReceiptKind::Read && seq > entry.seen {
        entry.seen = seq;
        entry.seen_at = entry.seen_at.max(Some(now));
        changed = true;
    }
    changed.then_some(entry)
}

/// Whether the chat is small enough for everybody to be told who in particular saw what. In a group of 1,000, each message
/// would otherwise make a million events.
#[must_use]
pub fn is_named(state: &ChatState) -> bool {
    state.members.len() <= MAX_NAMED_RECEIPTS
}

/// The receipts of these chats' members.
pub async fn of_chats(nats: &Nats, chats: &[&ChatState]) -> Result<HashMap<ChatId, Receipts>, KvError> {
    let mut receipts: HashMap<ChatId, Receipts> = HashMap::new();
    let mut keys = Vec::new();
    let mut members = 0;
    for (at, state) in chats.iter().enumerate() {
        keys.push(format!("{}.*", state.id));
        members += state.members.len();
        let next = chats.get(at + 1).map_or(AT_ONCE, |state| state.members.len());
        if members + next > AT_ONCE {
            for value in service::last_values(nats, READS_BUCKET, &keys).await? {
                if let (Some((chat, user)), Some(entry)) = (chat_user_of(&value.subject), parse(&value)) {
                    receipts.entry(chat).or_default().insert(user, entry);
                }
            }
            keys.clear();
            members = 0;
        }
    }
    // Who has left is no longer spoken of.
    for state in chats {
        if let Some(receipts) = receipts.get_mut(&state.id) {
            receipts.retain(|user, _| state.member(*user).is_some());
        }
    }
    Ok(receipts)
}

/// One member's receipts in these chats.
pub async fn of_member(nats: &Nats, user: UserId, chats: &[&ChatState]) -> Result<HashMap<ChatId, Receipts>, KvError> {
    let keys: Vec<String> = chats.iter().map(|state| chat_user_key(state.id, user)).collect();
    let values = service::last_values(nats, READS_BUCKET, &keys).await?;
    let one = |value: &Logged| Some((chat_user_of(&value.subject)?.0, Receipts::from([(user, parse(value)?)])));
    Ok(values.iter().filter_map(one).collect())
}

/// As a frontend reads them.
#[must_use]
pub fn listed(receipts: &Receipts) -> Vec<Receipt> {
    receipts.iter().map(|(user_id, entry)| Receipt { user_id: *user_id, entry: entry.clone() }).collect()
}

/// How many members other than its sender got and saw each of the newest messages, oldest first; of a group in which all are
/// named, nothing.
#[must_use]
pub fn counted(state: &ChatState, receipts: &Receipts) -> Vec<ReceiptCount> {
    if is_named(state) {
        return Vec::new();
    }
    let count = |(seq, sender): (Seq, UserId)| {
        let others = || receipts.iter().filter(move |(user, _)| **user != sender);
        ReceiptCount {
            seq,
            delivered: others().filter(|(_, entry)| entry.delivered >= seq).count() as u64,
            seen: others().filter(|(_, entry)| entry.seen >= seq).count() as u64,
        }
    };
    let mut counts: Vec<_> = state.newest().take(COUNTED).map(count).collect();
    counts.reverse();
    counts
}

fn parse(value: &Logged) -> Option<ReceiptEntry> {
    serde_json::from_slice(&value.payload).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_only_move_forward() {
        let at = Time::from_millis;
        let read = advanced(ReceiptEntry::default(), ReceiptKind::Read, 3, at(10)).unwrap();
        assert_eq!(read, ReceiptEntry { delivered: 3, seen: 3, delivered_at: Some(at(10)), seen_at: Some(at(10)) });
        assert_eq!(advanced(read.clone(), ReceiptKind::Read, 3, at(20)), None);
        assert_eq!(advanced(read.clone(), ReceiptKind::Delivered, 2, at(20)), None);
        // Also by a clock that goes back.
        let more = advanced(read, ReceiptKind::Delivered, 5, at(5)).unwrap();
        assert_eq!(more, ReceiptEntry { delivered: 5, seen: 3, delivered_at: Some(at(10)), seen_at: Some(at(10)) });
        let seen = advanced(more, ReceiptKind::Read, 4, at(30)).unwrap();
        assert_eq!(seen, ReceiptEntry { delivered: 5, seen: 4, delivered_at: Some(at(10)), seen_at: Some(at(30)) });
    }
}
