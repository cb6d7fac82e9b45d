//! Who is in which chat, by user: the bucket `MEMBERS`. Written by the instance that appended the membership event, and
//! again by the archive, so that none is lost; whichever comes later in the log wins. The bucket republishes each
//! change to the user's devices.

use std::collections::HashSet;

use contract::{
    ChatId, UserId,
    chat::MemberEntry,
    event::{Cursor, Event},
    storage::{MEMBERS_BUCKET, member_key},
};
use futures::{TryStreamExt, stream};
use service::{KvError, Logged, Nats};

use crate::state::ChatState;

/// Keys written at a time for one event.
const AT_ONCE: usize = 64;

/// Whom an event puts into the chat (`true`) or out of it; `left` is what its header says.
#[must_use]
pub fn changes(event: &Event, left: &[UserId]) -> Vec<(UserId, bool)> {
    let out = left.iter().map(|user| (*user, false));
    match event {
        Event::ChatCreated(created) => created.members.iter().map(|member| (member.user_id, true)).collect(),
        Event::ChatMembers(message) => {
            let added = message.change.iter().flat_map(|change| &change.added);
            added.map(|member| (member.user_id, true)).chain(out).collect()
        }
        Event::ChatDeleted(_) => out.collect(),
        _ => Vec::new(),
    }
}

/// Writes the changes of the event at `cursor`; what the bucket knows of a later one stays.
pub async fn record(nats: &Nats, chat: ChatId, cursor: Cursor, changes: &[(UserId, bool)]) -> Result<(), KvError> {
    stream::iter(changes.iter().copied().map(Ok))
        .try_for_each_concurrent(AT_ONCE, async |(user, joined)| {
            update(nats, user, chat, |entry| match entry {
                Some(entry) if entry.cursor >= cursor => None,
                entry => Some(MemberEntry { cursor, joined, muted: entry.is_some_and(|entry| entry.muted) }),
            })
            .await
        })
        .await
}

/// Sets a member's own `muted`.
pub async fn mute(nats: &Nats, user: UserId, chat: ChatId, muted: bool) -> Result<(), KvError> {
    update(nats, user, chat, |entry| {
        entry.filter(|entry| entry.muted != muted).map(|entry| MemberEntry { muted, ..entry })
    })
    .await
}

/// This user's place in this chat; `None` where they never were in it.
pub async fn entry(nats: &Nats, user: UserId, chat: ChatId) -> Result<Option<MemberEntry>, KvError> {
    let values = service::last_values(nats, MEMBERS_BUCKET, &[member_key(user, chat)]).await?;
    Ok(values.first().and_then(parse))
}

/// Those of these chats' members who do not want to hear of them.
pub async fn muted(nats: &Nats, chats: &[&ChatState]) -> Result<HashSet<(ChatId, UserId)>, KvError> {
    let keys = chats.iter().flat_map(|chat| chat.members.keys().map(|user| member_key(*user, chat.id)));
    let values = service::last_values(nats, MEMBERS_BUCKET, &keys.collect::<Vec<_>>()).await?;
    let muted = values.iter().filter(|value| parse(value).is_some_and(|entry| entry.muted));
    Ok(muted
        .filter_map(|value| {
            let mut tokens = value.subject.rsplit('.');
            Some((tokens.next()?.parse().ok()?, tokens.next()?.parse().ok()?))
        })
        .collect())
}

/// The chats a user is in.
pub async fn chats_of(nats: &Nats, user: UserId) -> Result<Vec<(ChatId, MemberEntry)>, KvError> {
    let values = service::last_values(nats, MEMBERS_BUCKET, &[format!("{user}.*")]).await?;
    let joined = values.iter().filter_map(|value| {
        let chat = value.subject.rsplit('.').next()?.parse().ok()?;
        parse(value).filter(|entry| entry.joined).map(|entry| (chat, entry))
    });
    Ok(joined.collect())
}

/// Compare-and-set until it holds; `change` answers `None` where nothing is to be written.
async fn update(
    nats: &Nats,
    user: UserId,
    chat: ChatId,
    change: impl Fn(Option<MemberEntry>) -> Option<MemberEntry>,
) -> Result<(), KvError> {
    let key = member_key(user, chat);
    loop {
        let values = service::last_values(nats, MEMBERS_BUCKET, std::slice::from_ref(&key)).await?;
        let (revision, entry) = values.first().map_or((0, None), |value| (value.sequence, parse(value)));
        let Some(entry) = change(entry) else { return Ok(()) };
        let Ok(json) = serde_json::to_vec(&entry) else { return Ok(()) };
        match nats.put_at(MEMBERS_BUCKET, &key, json.into(), None, revision).await {
            Err(KvError::Conflict) => {}
            written => return written.map(|_| ()),
        }
    }
}

fn parse(value: &Logged) -> Option<MemberEntry> {
    serde_json::from_slice(&value.payload).ok()
}
