//! What every request and every socket can reach.

use std::sync::Arc;

use contract::SessionId;
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

/// The gateway's parts; cheap to clone.
#[derive(Clone)]
pub struct App {
    pub calls: Calls,
    pub identity: Identity,
    pub revoked: Revoked,
    pub rooms: Rooms,
    pub presence: Presence,
    pub watchers: Watchers,
    pub limits: Limits,
    pub http: Arc<HttpConfig>,
    pub socket: Arc<SocketConfig>,
    /// Events of sockets that are being worked on; the stop waits for them.
    pub work: TaskTracker,
    /// Cancelled when nothing new should begin.
    pub soft: CancellationToken,
}

impl App {
    /// A session has just been revoked here: nobody should get in before the watch says so.
    pub fn revoke(&self, session: SessionId) {
        self.revoked.insert(session);
        self.rooms.expel(session);
    }
}
