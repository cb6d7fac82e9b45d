//! Catch-up: the events of a chat after a cursor, exactly those, or a reset where the log no longer reaches.

use bytes::Bytes;
use contract::{
    ChatId, Code, Refusal, UserId,
    chat::{Events, GetEvents, LoggedEvent, MAX_PAGE, MAX_SYNC, ReadLog, Sync, Synced},
    event::Cursor,
    headers,
};
use futures::{StreamExt, stream};
use serde_json::{Map, Value, json, value::RawValue};
use service::{Logged, Nats, fault};

use crate::{App, chats::refusal, log, state::ChatState};

/// Events of one chat in one `sync`; the client asks again while there are more.
const SYNC_EVENTS: u32 = 200;
/// An answer is at most this large, so that it fits into one NATS message.
const ANSWER_BYTES: usize = 700 * 1024;
/// Events that have the text of a message.
const TELLING: [&str; 2] = ["message:new", "message:edited"];
/// Chats of one `sync` read at a time.
const AT_ONCE: usize = 16;

/// `call.chat.events`
pub async fn events(app: App, get: GetEvents) -> Result<Events, Refusal> {
    if get.limit == 0 || get.limit > MAX_PAGE {
        return Err(Refusal::field("limit", format!("must be 1 to {MAX_PAGE}")));
    }
    let state = app.chats.current_for(get.chat_id, get.actor.user_id).await?;
    erase(&state, after(&app.reader.nats, &state, get.after, get.limit, ANSWER_BYTES).await?)
}

/// `call.chat.read_log`: for a gateway that missed something, and says it to those who were there.
pub async fn read_log(app: App, read: ReadLog) -> Result<Events, Refusal> {
    let state = app.chats.current(read.chat_id).await?.ok_or_else(|| Refusal::not_found("chat"))?;
    let Some(cursor) = read.after else {
        return Ok(Events { events: Vec::new(), cursor: state.cursor, reset: false, has_more: false });
    };
    after(&app.reader.nats, &state, cursor, read.limit.clamp(1, MAX_PAGE), ANSWER_BYTES).await
}

/// `call.chat.sync`: chats the user is not in are left out.
pub async fn sync(app: App, sync: Sync) -> Result<Synced, Refusal> {
    if sync.chats.len() > MAX_SYNC {
        return Err(Refusal::field("chats", format!("must be at most {MAX_SYNC}")));
    }
    let user = sync.actor.user_id;
    let read = |(chat, cursor): (ChatId, Cursor)| {
        let app = app.clone();
        async move {
            match missed(&app, chat, user, cursor).await {
                Ok(events) => Ok(Some((chat, cursor, events))),
                Err(refused) if refused.code == Code::NotFound => Ok(None),
                Err(refused) => Err(refused),
            }
        }
    };
    let mut answers = stream::iter(sync.chats).map(read).buffered(AT_ONCE);
    let mut synced = Synced { chats: std::collections::BTreeMap::new() };
    let mut bytes = 0;
    while let Some(answer) = answers.next().await {
        let Some((chat, cursor, mut events)) = answer? else { continue };
        let size: usize = events.events.iter().map(|event| event.data.get().len() + 100).sum();
        if bytes > 0 && bytes + size > ANSWER_BYTES {
            // No room left: nothing of this chat yet, to be asked for again from where the client stands.
            events = Events { events: Vec::new(), cursor, reset: false, has_more: true };
        } else {
            bytes += size;
        }
        synced.chats.insert(chat, events);
    }
    Ok(synced)
}

/// What a member has missed of a chat. When everybody asks at the same time, the log is read once for each of them, and the
/// state of the chat brought up to date once for all.
async fn missed(app: &App, chat: ChatId, user: UserId, cursor: Cursor) -> Result<Events, Refusal> {
    let nats = &app.reader.nats;
    let before = match app.chats.lately_for(chat, user).await {
        // Who is no member may have become one.
        Err(refused) if refused.code == Code::NotFound => app.chats.current_for(chat, user).await?,
        before => before?,
    };
    let (logged, more) = log::read(nats, chat, cursor, SYNC_EVENTS + 1).await.map_err(|error| refusal(&error))?;
    let Some(read_to) = logged.last().map(|last| last.sequence) else {
        // It is another log, or has been trimmed.
        let state = app.chats.current_for(chat, user).await?;
        return erase(&state, after(nats, &state, cursor, SYNC_EVENTS, ANSWER_BYTES).await?);
    };
    // Whoever reads an event was a member when it was written, or after.
    let state = if read_to > before.cursor { app.chats.since_for(chat, user, read_to).await? } else { before.clone() };
    let mut events = select(&state, cursor, &logged, more, SYNC_EVENTS, ANSWER_BYTES)?;
    // The copy of the stream that answered is behind what is known here.
    events.has_more |= !events.reset && read_to < before.cursor;
    erase(&state, events)
}

/// Takes out of events what deleted messages said: it is still in the log, but for nobody who comes later.
fn erase(state: &ChatState, mut events: Events) -> Result<Events, Refusal> {
    if !state.has_erased() {
        return Ok(events);
    }
    for event in events.events.iter_mut().filter(|event| TELLING.contains(&event.event.as_str())) {
        let unreadable = |error| fault("reading a stored event", &error);
        let mut data: Map<String, Value> = serde_json::from_str(event.data.get()).map_err(unreadable)?;
        if data.get("seq").and_then(Value::as_u64).is_some_and(|seq| state.is_erased(seq)) {
            for (field, nothing) in [("text", json!("")), ("attachments", json!([])), ("mentions", json!([]))] {
                data.entry(field).and_modify(|said| *said = nothing);
            }
            event.data = serde_json::value::to_raw_value(&data).map_err(unreadable)?;
        }
    }
    Ok(events)
}

/// Events of the chat after the cursor `after`.
pub async fn after(
    nats: &Nats,
    state: &ChatState,
    after: Cursor,
    limit: u32,
    max_bytes: usize,
) -> Result<Events, Refusal> {
    if after == state.cursor {
        return Ok(none_after(after));
    }
    // The event at `after` is read too: while it is there, none after it is missing.
    let read = log::read_to(nats, state.id, after, limit + 1, state.cursor).await;
    let (logged, more) = read.map_err(|error| refusal(&error))?;
    select(state, after, &logged, more, limit, max_bytes)
}

fn none_after(cursor: Cursor) -> Events {
    Events { events: Vec::new(), cursor, reset: false, has_more: false }
}

/// Of what was read from the event at `after` on, what is to be answered.
fn select(
    state: &ChatState,
    after: Cursor,
    logged: &[Logged],
    more: bool,
    limit: u32,
    max_bytes: usize,
) -> Result<Events, Refusal> {
    if after == state.cursor {
        return Ok(none_after(after));
    }
    let reset = Events { events: Vec::new(), cursor: state.cursor, reset: true, has_more: false };
    if after > state.cursor {
        // From a log that is no more.
        return Ok(reset);
    }
    let whole = logged.first().is_some_and(|first| first.sequence == after || log::number(first) == Some(1));
    if !whole {
        return Ok(reset);
    }
    let mut events: Vec<LoggedEvent> = Vec::new();
    let (mut prev, mut bytes, mut has_more) = (0, 0, more);
    for logged in logged {
        let (cursor, before) = (logged.sequence, prev);
        prev = cursor;
        if cursor <= after {
            continue;
        }
        bytes += logged.payload.len() + 100;
        if events.len() >= limit as usize || (bytes > max_bytes && !events.is_empty()) {
            has_more = true;
            break;
        }
        events.push(event(logged, before)?);
    }
    let cursor = events.last().map_or(after, |event| event.cursor);
    Ok(Events { events, cursor, reset: false, has_more })
}

fn event(logged: &Logged, prev: Cursor) -> Result<LoggedEvent, Refusal> {
    Ok(LoggedEvent {
        event: logged.header(headers::EVENT).unwrap_or_default().to_owned(),
        data: raw(&logged.payload)?,
        cursor: logged.sequence,
        prev,
    })
}

/// Stored JSON, to be passed on untouched.
pub fn raw(body: &Bytes) -> Result<Box<RawValue>, Refusal> {
    serde_json::from_slice(body).map_err(|error| fault("reading a stored event", &error))
}
