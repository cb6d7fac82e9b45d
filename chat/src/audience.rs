//! Who is to be told of what is written in chats.

use std::collections::{BTreeMap, HashMap};

use contract::{
    Code, Refusal, UserId,
    chat::{Audience, AudienceOf, Audiences, GetAudiences, Listener, MAX_AUDIENCES},
    event::Seq,
};
use futures::{StreamExt, stream};
use service::absent;

use crate::{App, members, receipts, state::ChatState};

/// Chats that are loaded at a time.
const AT_A_TIME: usize = 8;

/// `call.chat.audiences`
pub async fn audiences(app: App, get: GetAudiences) -> Result<Audiences, Refusal> {
    if get.chats.len() > MAX_AUDIENCES {
        return Err(Refusal::field("chats", format!("must be at most {MAX_AUDIENCES}")));
    }
    let load = |of: AudienceOf| {
        let app = &app;
        async move { (app.chats.since(of.chat_id, of.cursor).await, of) }
    };
    let loaded: Vec<_> = stream::iter(get.chats).map(load).buffered(AT_A_TIME).collect().await;
    let mut chats = BTreeMap::new();
    let mut found = Vec::with_capacity(loaded.len());
    for (state, of) in loaded {
        match state {
            Ok(Some(state)) => found.push((state, of)),
            Ok(None) => drop(chats.insert(of.chat_id, None)),
            Err(refusal) => tracing::warn!(chat = %of.chat_id, %refusal, "cannot tell who is in a chat"),
        }
    }
    let nats = &app.reader.nats;
    let states: Vec<&ChatState> = found.iter().map(|(state, _)| &**state).collect();
    let (muted, mut receipts) = tokio::try_join!(members::muted(nats, &states), receipts::of_chats(nats, &states))
        .map_err(|error| absent("the buckets MEMBERS and READS", &error))?;
    for (state, of) in &found {
        let receipts = receipts.remove(&state.id).unwrap_or_default();
        let listener = |user_id: UserId| Listener {
            user_id,
            muted: muted.contains(&(state.id, user_id)),
            seen: receipts.get(&user_id).map_or(0, |entry| entry.seen).max(state.joined_at(user_id)),
        };
        match senders(&app, state, &of.senders_of).await {
            Ok(senders) => {
                let members = state.members.keys().copied().map(listener).collect();
                let erased = of.messages.iter().copied().filter(|seq| state.is_erased(*seq)).collect();
                let (name, chat_type) = (state.name.clone(), state.chat_type);
                let audience = Audience { name, chat_type, members, senders, erased };
                chats.insert(state.id, Some(audience));
            }
            Err(refusal) => tracing::warn!(chat = %state.id, %refusal, "cannot tell whom a message answers"),
        }
    }
    Ok(Audiences { chats })
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
