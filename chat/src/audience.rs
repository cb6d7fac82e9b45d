//! Who is to be told of what is written in a chat.

use std::collections::{BTreeMap, HashMap};

use contract::{
    Code, Refusal, UserId,
    chat::{Audience, GetAudience, Listener},
    event::Seq,
};
use service::absent;

use crate::{App, members, receipts, state::ChatState};

/// `call.chat.audience`
pub async fn audience(app: App, get: GetAudience) -> Result<Audience, Refusal> {
    let state = app.chats.current(get.chat_id).await?.ok_or_else(|| Refusal::not_found("chat"))?;
    let nats = &app.reader.nats;
    let chats = [&*state];
    let users: Vec<UserId> = state.members.keys().copied().collect();
    let (muted, mut receipts) =
        tokio::try_join!(members::muted(nats, state.id, &users), receipts::of_chats(nats, &chats))
            .map_err(|error| absent("the buckets MEMBERS and READS", &error))?;
    let receipts = receipts.remove(&state.id).unwrap_or_default();
    let listener = |user_id: UserId| Listener {
        user_id,
        muted: muted.contains(&user_id),
        seen: receipts.get(&user_id).map_or(0, |entry| entry.seen).max(state.joined_at(user_id)),
    };
    Ok(Audience {
        name: state.name.clone(),
        chat_type: state.chat_type,
        members: users.into_iter().map(listener).collect(),
        senders: senders(&app, &state, &get.senders_of).await?,
    })
}

/// Those of messages too old to be at hand are looked up, unless MongoDB is away.
async fn senders(app: &App, state: &ChatState, seqs: &[Seq]) -> Result<BTreeMap<Seq, UserId>, Refusal> {
    let newest: HashMap<Seq, UserId> = state.newest().collect();
    let mut senders = BTreeMap::new();
    for seq in seqs {
        if let Some(sender) = newest.get(seq) {
            senders.insert(*seq, *sender);
            continue;
        }
        match app.reader.one(state, *seq).await {
            Ok(message) => {
                senders.insert(*seq, message.sender_id);
            }
            Err(refusal) if matches!(refusal.code, Code::NotFound | Code::Unavailable) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(senders)
}
