//! What concerns one user with sockets here: being added to and removed from chats.

use std::{sync::Arc, time::Duration};

use async_nats::Message;
use contract::{
    Actor, ChatId, Code, Refusal, SessionId, UserId,
    chat::{Chat, Events, GetChat, GetRooms, MemberEntry},
    event::Cursor,
    headers,
    room::{self, PersonEvent},
    user::Role,
};
use futures::StreamExt;
use serde_json::{json, value::RawValue};
use socketioxide::socket::Sid;
use tokio::{
    sync::watch,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Rooms, confirmed, own_room,
    room::{FILL_AGAIN, FILL_PATIENCE, Room, arguments, overflown, removed},
};

/// What could not be found out is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);
/// A room that is behind is looked at again after this: mostly an event is under way.
const BEHIND: Duration = Duration::from_millis(20);
/// A socket that connects is in its rooms within this, or is refused.
const ENTERING: Duration = Duration::from_secs(10);

/// Follows the person until their last socket here is gone.
pub(super) async fn run(user: UserId, ready: Arc<watch::Sender<bool>>, rooms: Rooms) {
    let mut gaps = rooms.0.nats.gaps();
    gaps.borrow_and_update();
    let mut messages = Box::pin(rooms.subscribe(room::of_person(user))).await;
    ready.send_replace(true);
    let mut compare_at = None;
    loop {
        tokio::select! {
            biased;
            message = messages.next() => match message {
                // What a task may do counts for its size also while it waits, as most do most of the time: hence the boxes.
                Some(message) => if let Err(refusal) = Box::pin(rooms.hear(user, &message)).await {
                    tracing::warn!(%user, %refusal, "cannot follow a change of membership; trying again");
                    compare_at = Some(Instant::now() + AGAIN);
                },
                None => return,
            },
            changed = gaps.changed() => {
                if changed.is_err() {
                    return;
                }
                // A change may have passed by.
                compare_at = Some(Instant::now());
            }
            () = sleep_until(compare_at.unwrap_or_else(Instant::now)), if compare_at.is_some() => {
                compare_at = Box::pin(rooms.compare(user)).await.err().map(|_| Instant::now() + AGAIN);
            }
        }
    }
}

impl Rooms {
    async fn hear(&self, user: UserId, message: &Message) -> Result<(), Refusal> {
        let chat = match room::parse_person(&message.subject) {
            Some((_, PersonEvent::Member(chat))) => chat,
            Some((_, PersonEvent::Notification)) => {
                self.pass_on(user, message);
                return Ok(());
            }
            None => return Ok(()),
        };
        // A key that is removed is republished without a body.
        let Ok(entry) = serde_json::from_slice::<MemberEntry>(&message.payload) else { return Ok(()) };
        if entry.joined {
            self.join(user, chat, entry.cursor).await
        } else {
            self.evict(user, chat, entry.cursor);
            Ok(())
        }
    }

    /// A notification, to all of the user's sockets here, as it is.
    fn pass_on(&self, user: UserId, message: &Message) {
        let event = message.headers.as_ref().and_then(|headers| headers.get(headers::EVENT));
        let body = serde_json::from_slice::<&RawValue>(&message.payload);
        let (Some(event), Ok(body), Some(sockets)) = (event, body, self.sockets()) else { return };
        metrics::counter!("natter_gateway_events_total", "event" => event.as_str().to_owned()).increment(1);
        if overflown(sockets.within(own_room(user)).emit(event.as_str(), &body)) {
            for socket in self.table().sockets_of(user).into_iter().filter_map(|sid| self.socket(sid)) {
                // Who cannot take this either has to go, and asks for all when they are back.
                self.tell(&socket, event.as_str(), &body);
            }
        }
    }

    /// Makes the user's sockets here be in the rooms of all of their chats, and in no others.
    async fn compare(&self, user: UserId) -> Result<(), Refusal> {
        // All people here do this at the same time. The semaphore is never closed.
        let _reader = self.0.readers.acquire().await;
        let before = self.table().chats_of_user(user);
        let now = self.0.calls.idempotent(&GetRooms { user_id: user }).await?.chat_ids;
        for chat in &now {
            self.join(user, *chat, Cursor::MAX).await?;
        }
        for chat in before.into_iter().filter(|chat| !now.contains(chat)) {
            // A copy of the bucket that is behind may have answered; the chat's own log is right.
            if self.chat_of(user, chat).await?.is_none() {
                self.evict(user, chat, 0);
            }
        }
        Ok(())
    }

    /// The user is no longer in the chat since `cursor`: their sockets leave its room and hear `chat:left`, once.
    pub(super) fn evict(&self, user: UserId, chat: ChatId, cursor: Cursor) {
        let evicted = self.table().evict(user, chat, cursor);
        for socket in evicted.into_iter().filter_map(|sid| self.socket(sid)) {
            socket.leave(chat.to_string());
            self.tell(&socket, "chat:left", &json!({ "chatId": chat }));
        }
    }

    /// The user is said to be in the chat since `cursor`: their sockets that are not in its room hear `chat:joined` and
    /// then every event from there on.
    async fn join(&self, user: UserId, chat_id: ChatId, cursor: Cursor) -> Result<(), Refusal> {
        self.wait_for_entering(user).await;
        let (hold, sids) = {
            let mut table = self.table();
            let sids = table.outside(user, chat_id);
            if sids.is_empty() || table.has_left(user, chat_id, cursor) {
                return Ok(());
            }
            (table.hold(self, chat_id), sids)
        };
        confirmed(hold.room.followed()).await?;
        // Maybe removed again meanwhile.
        let Some(chat) = self.chat_of(user, chat_id).await? else { return Ok(()) };
        for socket in sids.iter().filter_map(|sid| self.socket(*sid)) {
            self.tell(&socket, "chat:joined", &chat);
        }
        self.enter_at(user, &chat, &sids, &hold.room).await;
        Ok(())
    }

    /// Lets sockets that connect enter the rooms that they have asked for: one that is not in a room yet may be in it a moment
    /// later, and would hear twice what it was told besides.
    async fn wait_for_entering(&self, user: UserId) {
        let began = Instant::now();
        while self.table().is_entering(user) && began.elapsed() < ENTERING {
            sleep(BEHIND).await;
        }
    }

    /// A chat as a member sees it; `None` to one who is none.
    async fn chat_of(&self, user: UserId, chat_id: ChatId) -> Result<Option<Chat>, Refusal> {
        // The session is of no interest to `chat`: it asks who is a member.
        let actor = Actor { user_id: user, session_id: SessionId::default(), role: Role::User };
        match self.0.calls.idempotent(&GetChat { actor, chat_id }).await {
            Ok(chat) => Ok(Some(chat)),
            Err(refusal) if matches!(refusal.code, Code::NotFound | Code::Forbidden) => Ok(None),
            Err(refusal) => Err(refusal),
        }
    }

    /// Lets sockets into a room after they have seen the chat as of its cursor: what came later, and what was said beside
    /// the log, they get first. A room that is behind would tell them again what they have seen, and is waited for.
    async fn enter_at(&self, user: UserId, chat: &Chat, sids: &[Sid], room: &Room) {
        let (mut seen, began, mut in_vain) = (chat.cursor, Instant::now(), false);
        loop {
            let mut behind = false;
            let entered = room.between_events(self, seen, |last| {
                behind = last < seen;
                (last == seen || in_vain).then(|| {
                    let entered = self.table().enter_late(user, chat.id, chat.cursor, sids);
                    let sockets: Vec<_> = entered.iter().filter_map(|sid| self.socket(*sid)).collect();
                    room.let_in(self, user, chat, &sockets);
                    entered
                })
            });
            match entered {
                Some(entered) if entered.is_empty() => return self.say_left(chat.id, sids),
                Some(_) => return,
                None if behind => {
                    in_vain = began.elapsed() > FILL_PATIENCE;
                    sleep(BEHIND).await;
                    continue;
                }
                None => {}
            }
            let page = match self.read_log(chat.id, Some(seen)).await {
                Ok(page) if !page.events.is_empty() => page,
                // Somebody who is behind, or nobody, has answered; where the log no longer reaches back, waiting is in vain.
                Ok(Events { reset: false, .. }) | Err(_) if began.elapsed() < FILL_PATIENCE => {
                    sleep(FILL_AGAIN).await;
                    continue;
                }
                Ok(_) | Err(_) => {
                    tracing::warn!(chat = %chat.id, "cannot fill a gap before a room; clients will notice by `prev`");
                    in_vain = true;
                    continue;
                }
            };
            for event in &page.events {
                for socket in sids.iter().filter_map(|sid| self.socket(*sid)) {
                    self.tell(&socket, &event.event, &arguments(event));
                }
                if event.event == "chat:deleted" {
                    return;
                }
                if removed(event).contains(&user) {
                    return self.say_left(chat.id, sids);
                }
                seen = event.cursor;
            }
        }
    }

    fn say_left(&self, chat: ChatId, sids: &[Sid]) {
        for socket in sids.iter().filter_map(|sid| self.socket(*sid)) {
            self.tell(&socket, "chat:left", &json!({ "chatId": chat }));
        }
    }
}
