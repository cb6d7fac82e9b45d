//! What every request and every socket can reach.

use std::{ops::Deref, sync::Arc};

use contract::{
    ChatId, Refusal, Request, SessionId,
    chat::{SendMessage, SentMessage},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    calls::Calls,
    config::{HttpConfig, SocketConfig},
    identity::Identity,
    limits::Limits,
    presence::{Presence, Watchers},
    revoked::Revoked,
    rooms::Rooms,
};

/// One message in so many goes to any instance of `chat`.
const ANY: u32 = 200;

/// The gateway's parts; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

pub struct Parts {
    pub calls: Calls,
    pub identity: Identity,
    pub revoked: Revoked,
    pub rooms: Rooms,
    pub presence: Presence,
    pub watchers: Watchers,
    pub limits: Limits,
    pub http: HttpConfig,
    pub socket: SocketConfig,
    /// Events of sockets that are being worked on; the stop waits for them.
    pub work: TaskTracker,
    /// Cancelled when nothing new should begin.
    pub soft: CancellationToken,
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Sends a message by the instance of `chat` that appended to its chat last: another one would have to lose the race for
    /// the next number before it knew what to decide on. Now and then by any, so that a new one gets its share.
    pub async fn send(&self, send: SendMessage) -> Result<SentMessage, Refusal> {
        let writer = self.rooms.writer_of(send.message.chat_id).filter(|_| rand::random_range(0..ANY) > 0);
        self.calls.idempotent_at(writer.as_deref(), &send).await
    }

    /// Edits, deletes, or reacts to, a message of a chat by the same instance, once: two that change one chat at a time keep
    /// each other from it.
    pub async fn change<R: Request>(&self, chat: ChatId, change: &R) -> Result<R::Reply, Refusal> {
        self.calls.call_at(self.rooms.writer_of(chat).as_deref(), change).await
    }

    /// A session has just been revoked here: nobody should get in before the watch says so.
    pub fn revoke(&self, session: SessionId) {
        self.revoked.insert(session);
        self.rooms.expel(session);
    }
}
