//! Who is typing: the bucket `TYPING`, whose keys expire by themselves. The bucket republishes both the key and its
//! expiry to the chat's room, so nobody keeps a timer.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use contract::{
    ChatId, Done, Refusal, UserId,
    chat::{GetRoomState, RoomState, SetTyping, TYPING_SECONDS},
    storage::{TYPING_BUCKET, chat_user_key, chat_user_of},
};
use service::{KvError, Nats, absent};

use crate::{App, receipts, state::ChatState};

const TTL: Duration = Duration::from_secs(TYPING_SECONDS);
/// That somebody types is all there is to say.
const TYPING: Bytes = Bytes::from_static(b"{}");

/// `call.chat.typing`
pub async fn set(app: App, set: SetTyping) -> Result<Done, Refusal> {
    let state = app.chats.lately_for(set.chat_id, set.actor.user_id).await?;
    let nats = &app.reader.nats;
    let key = chat_user_key(state.id, set.actor.user_id);
    let written = if set.typing {
        nats.put(TYPING_BUCKET, &key, TYPING, Some(TTL)).await.map(|_| ())
    } else {
        nats.delete(TYPING_BUCKET, &key).await
    };
    written.map_err(|error| absent("the bucket TYPING", &error))?;
    Ok(Done {})
}

/// These users type no longer in this chat: who does is said to stop, and nothing of the others.
pub async fn stop(nats: &Nats, chat: ChatId, users: &[UserId]) -> Result<(), KvError> {
    let keys: Vec<String> = users.iter().map(|user| chat_user_key(chat, *user)).collect();
    for value in service::last_values(nats, TYPING_BUCKET, &keys).await? {
        if let Some((chat, user)) = chat_user_of(&value.subject) {
            nats.delete(TYPING_BUCKET, &chat_user_key(chat, user)).await?;
        }
    }
    Ok(())
}

/// Which members type in these chats.
pub async fn of_chats(nats: &Nats, chats: &[&ChatState]) -> Result<HashMap<ChatId, Vec<UserId>>, KvError> {
    let keys: Vec<String> = chats.iter().map(|state| format!("{}.*", state.id)).collect();
    let mut typing: HashMap<ChatId, Vec<UserId>> = HashMap::new();
    for value in service::last_values(nats, TYPING_BUCKET, &keys).await? {
        if let Some((chat, user)) = chat_user_of(&value.subject) {
            typing.entry(chat).or_default().push(user);
        }
    }
    for state in chats {
        if let Some(users) = typing.get_mut(&state.id) {
            users.retain(|user| state.member(*user).is_some());
        }
    }
    Ok(typing)
}

/// `call.chat.room_state`: for a gateway that may have missed something.
pub async fn room_state(app: App, get: GetRoomState) -> Result<RoomState, Refusal> {
    let state = app.chats.current(get.chat_id).await?.ok_or_else(|| Refusal::not_found("chat"))?;
    let nats = &app.reader.nats;
    let chats = [&*state];
    let read = async {
        let named = if receipts::is_named(&state) && !get.typing_only { &chats[..] } else { &[] };
        tokio::try_join!(receipts::of_chats(nats, named), of_chats(nats, &chats))
    };
    let (mut receipts, mut typing) = read.await.map_err(|error| absent("the buckets READS and TYPING", &error))?;
    Ok(RoomState {
        receipts: receipts.remove(&state.id).map_or_else(Vec::new, |receipts| receipts::listed(&receipts)),
        typing: typing.remove(&state.id).unwrap_or_default(),
    })
}
