//! How much a member has not seen: exactly what a recount gives. The newest messages are counted from the chat's state;
//! only for those who are further behind the archive is asked.

use std::collections::BTreeSet;

use contract::{
    Refusal, UserId,
    event::{Event, MessageKind, Seq},
};
use service::mongo;

use crate::{chats::refusal, history::Reader, log, state::ChatState, store};

/// Messages that count as unread for a member who has seen everything up to `seen`.
pub async fn count(reader: &Reader, state: &ChatState, user: UserId, seen: Seq) -> Result<u64, Refusal> {
    let after = seen.max(state.joined_at(user));
    let (newest, before) = state.unread_after(user, after);
    if after >= before {
        return Ok(newest);
    }
    Ok(newest + older(reader, state, user, after + 1, before).await?)
}

/// The same among messages `first..=last`: the archive's, with what it does not know yet. While MongoDB is away only what
/// the log still tells of counts.
async fn older(reader: &Reader, state: &ChatState, user: UserId, first: Seq, last: Seq) -> Result<u64, Refusal> {
    // Before MongoDB is asked: what it then holds is at least everything up to here.
    let floor = reader.floor.of(state.id);
    let archived = match reader.mongo.database() {
        Ok(database) => store::unread(database, state.id, user, first, last)
            .await
            .map_err(|error| mongo::refusal("counting unread messages", &error)),
        Err(refusal) => Err(refusal),
    };
    let (mut unread, from) = archived.map_or_else(|_away| (BTreeSet::new(), 1), |unread| (unread, floor + 1));
    log::replay(&reader.nats, state.id, from, state.cursor, |_, event| match event {
        Event::MessageNew(message) => {
            let counts = message.kind == MessageKind::User && message.sender_id != user;
            if counts && (first..=last).contains(&message.seq) {
                unread.insert(message.seq);
            }
        }
        Event::MessageDeleted(deleted) => {
            unread.remove(&deleted.seq);
        }
        _ => {}
    })
    .await
    .map_err(|error| refusal(&error))?;
    Ok(unread.len() as u64)
}
