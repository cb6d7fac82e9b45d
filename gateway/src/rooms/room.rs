//! One chat's room: reads the log as NATS republishes it and emits it, byte for byte and in order, to the sockets here.
//! What is missing is noticed by the cursors and fetched.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::Message;
use contract::{
    ChatId, Code, Refusal, UserId,
    chat::{Events, LoggedEvent},
    event::Cursor,
    headers,
    room::{self, RoomEvent},
};
use futures::{FutureExt, StreamExt, future::BoxFuture};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use socketioxide::{BroadcastError, SocketError};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use super::{Rooms, rhythm::Rhythm, signals::Signals};

/// Beyond our own server the subscription takes effect a moment later: what was published meanwhile is looked for once.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// A log that cannot be read is tried again after this, then after twice as long, and so on.
const AGAIN: Duration = Duration::from_secs(2);
const AGAIN_AT_MOST: Duration = Duration::from_mins(1);
/// The same where events wait for it; after this long they are emitted without what is missing.
pub(super) const FILL_PATIENCE: Duration = Duration::from_secs(4);
pub(super) const FILL_AGAIN: Duration = Duration::from_millis(500);

/// A chat with members here.
pub(super) struct Room {
    pub(super) chat: ChatId,
    /// Its name as a Socket.IO room.
    pub(super) name: String,
    ready: watch::Sender<bool>,
    emitted: Mutex<Emitted>,
    /// The instance of `chat` that appended last.
    writer: Mutex<Option<Arc<str>>>,
    signals: Mutex<Signals>,
}

/// How far this room's sockets have been told.
#[derive(Default)]
struct Emitted {
    /// Cursor of the last event emitted.
    last: Option<Cursor>,
    /// Where the log ended when the room was opened: what came before was never for the sockets here.
    floor: Option<Cursor>,
}

impl Emitted {
    /// Everything up to here is known to have been emitted or not to be for anybody here.
    fn known(&self) -> Option<Cursor> {
        self.last.or(self.floor)
    }
}

/// Second argument of a log event.
#[derive(Serialize)]
struct At {
    cursor: Cursor,
    prev: Cursor,
}

/// What a page of the log says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    /// There is more after it.
    More,
    Last,
    /// The log ends here, before what has been emitted: seen twice, the log has been lost; once, we asked a replica that
    /// is behind.
    Behind(Cursor),
}

/// A log event on its way to the sockets.
struct Outgoing<'a> {
    event: &'a str,
    body: &'a RawValue,
    at: At,
    /// Who is no longer in the chat after this.
    left: Vec<UserId>,
}

impl Room {
    pub(super) fn new(chat: ChatId) -> Self {
        Self {
            chat,
            name: chat.to_string(),
            ready: watch::Sender::new(false),
            emitted: Mutex::default(),
            writer: Mutex::default(),
            signals: Mutex::default(),
        }
    }

    /// Whether its subject is subscribed to.
    pub(super) fn followed(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }

    pub(super) fn signals(&self) -> MutexGuard<'_, Signals> {
        self.signals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance of `chat` that appended last, and so knows the chat as it is.
    pub(super) fn writer(&self) -> Option<Arc<str>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note_writer(&self, message: &Message) {
        let writer = message.headers.as_ref().and_then(|headers| headers.get(headers::INSTANCE));
        let Some(writer) = writer.map(async_nats::HeaderValue::as_str) else { return };
        let mut known = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_deref() != Some(writer) {
            *known = Some(writer.into());
        }
    }

    /// Runs `then` for one who has seen everything up to `seen`, at a moment when nothing is being emitted, given the
    /// cursor of the last event that has been; 0 where that may still be any. Where nobody is in the room it begins with
    /// them: what came before is for nobody here.
    pub(super) fn between_events<T>(&self, rooms: &Rooms, seen: Cursor, then: impl FnOnce(Cursor) -> T) -> T {
        let mut emitted = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        if rooms.table().size_of(self.chat) == 0 {
            emitted.last = emitted.last.max(Some(seen));
        }
        then(emitted.last.unwrap_or(0))
    }

    /// Emits an event unless it has been; false where events before it are missing.
    fn emit(self: &Arc<Self>, rooms: &Rooms, outgoing: &Outgoing<'_>, even_after_gap: bool) -> bool {
        let mut emitted = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
        let At { cursor, prev } = outgoing.at;
        if emitted.last.is_some_and(|last| cursor <= last) {
            return true;
        }
        if !even_after_gap && emitted.known().is_some_and(|known| prev > known) {
            return false;
        }
        let Some(sockets) = rooms.sockets() else { return true };
        metrics::counter!("natter_gateway_events_total", "event" => outgoing.event.to_owned()).increment(1);
        let arguments = (outgoing.body, &outgoing.at);
        if overflown(sockets.within(self.name.clone()).emit(outgoing.event, &arguments)) {
            rooms.part_with_slow(self, Some(cursor));
        }
        emitted.last = Some(cursor);
        if outgoing.event == "chat:deleted" {
            let members = rooms.table().evict_all(self.chat);
            for socket in members.into_iter().filter_map(|sid| rooms.socket(sid)) {
                socket.leave(self.name.clone());
            }
        }
        for user in &outgoing.left {
            rooms.evict(*user, self.chat, cursor);
        }
        true
    }

    fn emit_logged(self: &Arc<Self>, rooms: &Rooms, event: &LoggedEvent) {
        let outgoing = Outgoing {
            event: &event.event,
            body: &event.data,
            at: At { cursor: event.cursor, prev: event.prev },
            left: removed(event),
        };
        self.emit(rooms, &outgoing, true);
    }

    /// Takes one republished message.
    async fn receive(self: &Arc<Self>, rooms: &Rooms, message: &Message) {
        match room::parse(&message.subject) {
            Some((_, RoomEvent::Log)) => self.receive_logged(rooms, message).await,
            Some((_, RoomEvent::Typing(user))) => self.hear_typing(rooms, user, message),
            Some((_, RoomEvent::Read(user))) => self.hear_receipt(rooms, user, message),
            None => {}
        }
    }

    async fn receive_logged(self: &Arc<Self>, rooms: &Rooms, message: &Message) {
        let Some(outgoing) = outgoing(message) else {
            tracing::warn!(subject = %message.subject, "a message in a room is no log event");
            return;
        };
        self.note_writer(message);
        if self.emit(rooms, &outgoing, false) {
            return;
        }
        metrics::counter!("natter_gateway_gaps_total").increment(1);
        // Boxed, because a room's task is as large as all that it may do.
        Box::pin(self.fill_patiently(rooms, outgoing.at.prev)).await;
        self.emit(rooms, &outgoing, true);
    }

    /// Emits what the log has up to `until`, and beyond, again and again where it cannot be read or a copy that is behind is
    /// read: what comes meanwhile waits.
    async fn fill_patiently(self: &Arc<Self>, rooms: &Rooms, until: Cursor) {
        let began = Instant::now();
        loop {
            let why = match self.fill(rooms).await {
                Ok(end) if end >= until => return,
                Ok(_) => "the log that was read ends before it".to_owned(),
                Err(refusal) => refusal.to_string(),
            };
            if began.elapsed() > FILL_PATIENCE {
                tracing::warn!(chat = %self.chat, why, "cannot fill a gap; clients will notice by `prev`");
                return;
            }
            tokio::time::sleep(FILL_AGAIN).await;
        }
    }

    /// Emits what the log has beyond what has been emitted; answers where it ends.
    async fn fill(self: &Arc<Self>, rooms: &Rooms) -> Result<Cursor, Refusal> {
        loop {
            let known = self.known();
            let page = rooms.read_log(self.chat, known).await?;
            if self.take(rooms, known, &page) != Page::More {
                return Ok(page.cursor);
            }
        }
    }

    /// Takes a page of the log.
    fn take(self: &Arc<Self>, rooms: &Rooms, asked_after: Option<Cursor>, page: &Events) -> Page {
        let Some(asked_after) = asked_after else {
            self.emitted.lock().unwrap_or_else(PoisonError::into_inner).floor.get_or_insert(page.cursor);
            return Page::Last;
        };
        if page.cursor < asked_after {
            return Page::Behind(page.cursor);
        }
        if page.reset {
            let mut emitted = self.emitted.lock().unwrap_or_else(PoisonError::into_inner);
            emitted.last = emitted.last.max(Some(page.cursor));
            rooms.part_with_slow(self, emitted.last);
            return Page::Last;
        }
        let known = self.known();
        for event in &page.events {
            self.emit_logged(rooms, event);
        }
        if page.has_more && self.known() != known { Page::More } else { Page::Last }
    }

    fn forget(&self) {
        *self.emitted.lock().unwrap_or_else(PoisonError::into_inner) = Emitted::default();
    }

    /// The log is another one, which ends at `cursor`: the old one was lost. Clients have to fetch afresh.
    fn begin_anew(self: &Arc<Self>, rooms: &Rooms, cursor: Cursor) {
        tracing::warn!(chat = %self.chat, cursor, "the log ends before what has been delivered");
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).last = Some(cursor);
        rooms.part_with_slow(self, Some(cursor));
    }

    fn known(&self) -> Option<Cursor> {
        self.emitted.lock().unwrap_or_else(PoisonError::into_inner).known()
    }
}

/// Follows the chat until the room is closed.
pub(super) async fn run(room: Arc<Room>, rooms: Rooms) {
    let mut gaps = rooms.0.nats.gaps();
    gaps.borrow_and_update();
    let mut messages = Box::pin(rooms.subscribe(room::of_chat(room.chat))).await;
    room.ready.send_replace(true);

    let mut looking = Some(look(&room, &rooms));
    let mut look_at = Some(Instant::now() + SECOND_LOOK);
    let mut again = AGAIN;
    let mut page_before = Page::Last;
    let mut rhythm = Rhythm::default();
    loop {
        tokio::select! {
            biased;
            changed = gaps.changed() => {
                if changed.is_err() {
                    return;
                }
                // Something passed us by: see what happened meanwhile, now and when all of NATS' servers know us. One that
                // waits for its turn to look keeps its place.
                while !Box::pin(rooms.echo()).await {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                looking.get_or_insert_with(|| look(&room, &rooms));
                look_at = Some(Instant::now() + SECOND_LOOK);
            }
            Some((after, page)) = async { Some(looking.as_mut()?.await) }, if looking.is_some() => {
                looking = None;
                match page {
                    Ok(page) => {
                        again = AGAIN;
                        let before = std::mem::replace(&mut page_before, room.take(&rooms, after, &page));
                        match (before, page_before) {
                            (_, Page::Last) => {}
                            (_, Page::More) => looking = Some(look(&room, &rooms)),
                            (Page::Behind(_), Page::Behind(cursor)) => room.begin_anew(&rooms, cursor),
                            (_, Page::Behind(_)) => look_at = Some(Instant::now() + AGAIN),
                        }
                    }
                    // It has no log, or none any more: whatever comes is new.
                    Err(refusal) if refusal.code == Code::NotFound => room.forget(),
                    Err(_) => {
                        look_at = Some(Instant::now() + again);
                        again = (again * 2).min(AGAIN_AT_MOST);
                    }
                }
            }
            () = sleep_until(look_at.unwrap_or_else(Instant::now)), if look_at.is_some() && looking.is_none() => {
                look_at = None;
                looking = Some(look(&room, &rooms));
            }
            // Last: in a busy large room there is always one, and what is rare would never have its turn.
            message = messages.next() => match message {
                Some(message) => {
                    let batch = rhythm.gather(message, &mut messages).await;
                    for message in &batch {
                        room.receive(&rooms, message).await;
                    }
                    let sockets = rooms.table().size_of(room.chat);
                    rhythm.fanned_out(batch.len(), sockets).await;
                }
                None => return,
            },
        }
    }
}

type Look = BoxFuture<'static, (Option<Cursor>, Result<Events, Refusal>)>;

/// Reads what the log has beyond what has been emitted; where nothing is known yet, only where it ends.
fn look(room: &Arc<Room>, rooms: &Rooms) -> Look {
    let (room, rooms) = (room.clone(), rooms.clone());
    Box::pin(async move {
        let after = room.known();
        (after, rooms.read_log_at_leisure(room.chat, after).await)
    })
}

fn outgoing(message: &Message) -> Option<Outgoing<'_>> {
    let headers = message.headers.as_ref()?;
    let header = |name: &str| headers.get(name).map(async_nats::HeaderValue::as_str);
    Some(Outgoing {
        event: header(headers::EVENT)?,
        body: serde_json::from_slice(&message.payload).ok()?,
        at: At { cursor: header("Nats-Sequence")?.parse().ok()?, prev: header("Nats-Last-Sequence")?.parse().ok()? },
        left: header(headers::LEFT).unwrap_or_default().split(',').filter_map(|id| id.trim().parse().ok()).collect(),
    })
}

/// Whom a logged event removed: the one thing a gateway reads from an event, where the header did not come with it.
pub(super) fn removed(event: &LoggedEvent) -> Vec<UserId> {
    #[derive(Deserialize)]
    struct Change {
        #[serde(default)]
        removed: Vec<UserId>,
    }
    #[derive(Deserialize)]
    struct Members {
        change: Change,
    }
    if event.event != "chat:members" {
        return Vec::new();
    }
    serde_json::from_str::<Members>(event.data.get()).map(|members| members.change.removed).unwrap_or_default()
}

/// Whether an event did not fit into the buffers of some of the sockets it was for. The local adapter is ready at once.
pub(super) fn overflown(sent: impl Future<Output = Result<(), BroadcastError>>) -> bool {
    let Some(Err(BroadcastError::Socket(errors))) = sent.now_or_never() else { return false };
    let full = errors.iter().filter(|error| matches!(error, SocketError::InternalChannelFull)).count();
    metrics::counter!("natter_gateway_events_dropped_total").increment(full as u64);
    full > 0
}

/// `(body, {cursor, prev})`, the arguments of a log event.
pub(super) fn arguments(event: &LoggedEvent) -> (&RawValue, impl Serialize) {
    (&event.data, At { cursor: event.cursor, prev: event.prev })
}
