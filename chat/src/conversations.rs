//! Conversations: open, create, read, list, change, delete.

use std::collections::BTreeSet;

use contract::{
    ChatId, Done, Refusal, UserId,
    chat::{
        Chat, ChatPage, CreateChat, CreatedChat, DeleteChat, GetChat, GetRooms, ListChats, MAX_PAGE, NewChat, Rooms,
        UpdateChat,
    },
    user::KnownUsers,
};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use service::absent;

use crate::{App, chats, decide::Command, log, members, state::ChatState, view};

/// Chats of a page loaded at a time.
const AT_ONCE: usize = 16;
/// A page is at most this large, whatever its limit, so that it fits into one NATS message.
const PAGE_BYTES: usize = 700 * 1024;

/// `call.chat.create`: a direct chat that exists already is answered as it is.
pub async fn create(app: App, create: CreateChat) -> Result<CreatedChat, Refusal> {
    let user = create.actor.user_id;
    let (id, command) = match create.chat {
        NewChat::Direct { user_id } => {
            let id = ChatId::direct(user, user_id);
            if let Some(state) = app.chats.current(id).await? {
                return Ok(CreatedChat { created: false, chat: view::read(&app, &state, user).await? });
            }
            require_known(&app, "userId", &[user_id]).await?;
            (id, Command::OpenDirect { other: user_id })
        }
        NewChat::Group { name, member_ids } => {
            require_known(&app, "memberIds", &member_ids).await?;
            (ChatId::new(), Command::CreateGroup { name, member_ids })
        }
    };
    match app.chats.execute(id, user, &command).await? {
        chats::Done::Appended { event, state, .. } => {
            app.spread(&state, &event, &[]).await;
            Ok(CreatedChat { created: true, chat: view::of_new(&state, user) })
        }
        chats::Done::Unchanged(state) => {
            Ok(CreatedChat { created: false, chat: view::read(&app, &state, user).await? })
        }
        chats::Done::Before(_) => Err(Refusal::internal()),
    }
}

/// Refuses the field if it names somebody who is not there.
pub async fn require_known(app: &App, field: &str, user_ids: &[UserId]) -> Result<(), Refusal> {
    let asked: BTreeSet<UserId> = user_ids.iter().copied().collect();
    if asked.len() > contract::chat::MAX_MEMBERS {
        return Err(Refusal::field(field, format!("must be at most {}", contract::chat::MAX_MEMBERS)));
    }
    if asked.is_empty() {
        return Ok(());
    }
    let known = app.caller.call(&KnownUsers { user_ids: asked.iter().copied().collect() }).await?;
    let known: BTreeSet<UserId> = known.user_ids.into_iter().collect();
    match user_ids.iter().position(|user| !known.contains(user)) {
        None => Ok(()),
        Some(_) if field == "userId" => Err(Refusal::not_found("user")),
        Some(at) => Err(Refusal::field(format!("{field}[{at}]"), "there is no such user")),
    }
}

/// `call.chat.get`
pub async fn get(app: App, get: GetChat) -> Result<Chat, Refusal> {
    let state = app.chats.current_for(get.chat_id, get.actor.user_id).await?;
    view::read(&app, &state, get.actor.user_id).await
}

/// Where a page of chats goes on: when the last one was last active, and which it was.
type Place = (Timestamp, ChatId);

/// `call.chat.list`: last active first, without MongoDB.
pub async fn list(app: App, page: ListChats) -> Result<ChatPage, Refusal> {
    if page.limit == 0 || page.limit > MAX_PAGE {
        return Err(Refusal::field("limit", format!("must be 1 to {MAX_PAGE}")));
    }
    let before = match page.cursor.as_deref().map(place) {
        Some(None) => return Err(Refusal::field("cursor", "is not one that was given")),
        cursor => cursor.flatten(),
    };
    let user = page.actor.user_id;
    let nats = &app.reader.nats;
    let entries = members::chats_of(nats, user).await.map_err(|error| absent("the bucket MEMBERS", &error))?;
    let chats: Vec<ChatId> = entries.iter().map(|(chat, _)| *chat).collect();
    let mut active = log::last_active(nats, &chats).await.map_err(|error| absent("the log", &error))?;
    active.retain(|place| before.is_none_or(|before| *place < before));
    active.sort_unstable_by(|one, other| other.cmp(one));
    let more = active.len() > page.limit as usize;
    active.truncate(page.limit as usize);

    let load = |place: Place| {
        let (_, chat) = place;
        let entry = entries.iter().find(|(id, _)| *id == chat).map(|(_, entry)| entry.clone());
        let chats = app.chats.clone();
        async move { Ok::<_, Refusal>((place, entry, chats.current(chat).await?)) }
    };
    let loaded: Vec<_> = stream::iter(active).map(load).buffered(AT_ONCE).try_collect().await?;
    let mine = |state: &ChatState| state.member(user).is_some();
    let loaded: Vec<_> = loaded
        .into_iter()
        .filter_map(|(place, entry, state)| Some((place, entry, state.filter(|state| mine(state))?)))
        .collect();
    let shown: Vec<_> = loaded.iter().map(|(_, entry, state)| (&**state, entry.as_ref())).collect();
    let mut answer = ChatPage { chats: Vec::new(), next_cursor: None };
    let (mut bytes, mut last) = (0, None);
    for (chat, (place, ..)) in view::read_all(&app, &shown, user).await?.into_iter().zip(&loaded) {
        bytes += serde_json::to_vec(&chat).map_or(0, |json| json.len());
        if bytes > PAGE_BYTES && !answer.chats.is_empty() {
            answer.next_cursor = last.map(cursor);
            return Ok(answer);
        }
        answer.chats.push(chat);
        last = Some(*place);
    }
    answer.next_cursor = last.filter(|_| more).map(cursor);
    Ok(answer)
}

fn cursor((at, chat): Place) -> String {
    format!("{}.{chat}", at.as_nanosecond())
}

fn place(cursor: &str) -> Option<Place> {
    let (at, chat) = cursor.split_once('.')?;
    Some((Timestamp::from_nanosecond(at.parse().ok()?).ok()?, chat.parse().ok()?))
}

/// `call.chat.update`: name and avatar are the group's, `muted` is one's own.
pub async fn update(app: App, update: UpdateChat) -> Result<Chat, Refusal> {
    let (chat, user, changes) = (update.chat_id, update.actor.user_id, update.changes);
    let state = if changes.name.is_some() || changes.avatar_url.is_some() {
        let command = Command::Update { name: changes.name, avatar_url: changes.avatar_url };
        match app.chats.execute(chat, user, &command).await? {
            chats::Done::Appended { state, .. } | chats::Done::Unchanged(state) => state,
            chats::Done::Before(_) => return Err(Refusal::internal()),
        }
    } else {
        app.chats.current_for(chat, user).await?
    };
    if let Some(muted) = changes.muted {
        let set = members::mute(&app.reader.nats, user, chat, muted).await;
        set.map_err(|error| absent("the bucket MEMBERS", &error))?;
    }
    view::read(&app, &state, user).await
}

/// `call.chat.delete`
pub async fn delete(app: App, delete: DeleteChat) -> Result<Done, Refusal> {
    let before = app.chats.current_for(delete.chat_id, delete.actor.user_id).await?;
    let done = app.chats.execute(delete.chat_id, delete.actor.user_id, &Command::Delete).await?;
    if let chats::Done::Appended { event, state, .. } = done {
        let left: Vec<UserId> = before.members.keys().copied().collect();
        app.spread(&state, &event, &left).await;
    }
    Ok(Done {})
}

/// `call.chat.rooms`
pub async fn rooms(app: App, get: GetRooms) -> Result<Rooms, Refusal> {
    let chats = members::chats_of(&app.reader.nats, get.user_id).await;
    let chats = chats.map_err(|error| absent("the bucket MEMBERS", &error))?;
    Ok(Rooms { chat_ids: chats.into_iter().map(|(chat, _)| chat).collect() })
}
