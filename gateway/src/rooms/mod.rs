//! Rooms: which sockets of this gateway are in which chats, and the NATS subscriptions that takes. A chat's room and a
//! person's subject are subscribed to with the first socket here that wants them, and no longer than the last one does.

mod person;
mod rhythm;
mod room;
mod signals;
mod slow;
mod table;

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{Subscriber, client::RequestErrorKind};
use contract::{
    ChatId, Refusal, SessionId, UserId,
    chat::{Events, GetRoomState, GetRooms, ReadLog, RoomState},
    event::Cursor,
};
use futures::FutureExt;
use service::Nats;
use socketioxide::{SocketIo, extract::SocketRef, operators::BroadcastOperators, socket::Sid};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{calls::Calls, socket::farewell, tcp::Wires};
use room::Room;
use table::Table;

/// A socket that connects waits this long for NATS to confirm its subscriptions.
const SUBSCRIBED: Duration = Duration::from_secs(5);
/// Nobody serves this subject, which the server says at once: proof that it has read all that we sent before.
const ECHO: &str = "call.gateway.echo";
const ECHO_DEADLINE: Duration = Duration::from_secs(2);
/// Events of one page of a log.
const PAGE: u32 = 200;
/// Logs read at a time to look for what was missed.
const READERS: usize = 32;

/// The rooms of this gateway; cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<Inner>);

struct Inner {
    nats: Nats,
    calls: Calls,
    io: SocketIo,
    wires: Wires,
    table: Mutex<Table>,
    readers: Semaphore,
}

/// A socket's place; given back when dropped, which happens at the latest with the socket itself.
pub struct Place {
    rooms: Rooms,
    sid: Sid,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.rooms.table().remove_seat(self.sid, self.number);
    }
}

impl Rooms {
    #[must_use]
    pub fn new(nats: Nats, calls: Calls, io: SocketIo, wires: Wires) -> Self {
        let (table, readers) = (Mutex::default(), Semaphore::new(READERS));
        Self(Arc::new(Inner { nats, calls, io, wires, table, readers }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sockets, unless they have been closed for good.
    fn sockets(&self) -> Option<BroadcastOperators> {
        self.0.io.of("/")
    }

    fn socket(&self, sid: Sid) -> Option<SocketRef> {
        self.sockets()?.get_socket(sid)
    }

    /// Gives a socket that connects its place: it is in the rooms of all of its user's chats when this returns, and
    /// nothing that happens in them afterwards passes it by.
    pub async fn admit(&self, sid: Sid, user: UserId, session: SessionId) -> Result<Place, Refusal> {
        let (number, person) = self.table().add_seat(self, sid, user, session);
        let place = Place { rooms: self.clone(), sid, number };
        // First what changes the list of rooms, then the list.
        confirmed(person).await?;
        let rooms = self.0.calls.idempotent(&GetRooms { user_id: user }).await?;
        let waiting = self.table().enter(self, sid, rooms.chat_ids);
        for room in waiting {
            confirmed(room).await?;
        }
        Ok(place)
    }

    /// Makes a socket be in the rooms that the table says it is in, and in no other. Needed once it is connected:
    /// before, nobody can reach it to let it join or leave.
    pub fn settle(&self, socket: &SocketRef) {
        let table = self.table();
        let chats = table.chats_of(socket.id);
        let own = table.user_of(socket.id).map(own_room);
        for room in socket.rooms() {
            if own.as_deref() != Some(&*room)
                && !room.parse().is_ok_and(|chat| chats.is_some_and(|chats| chats.contains(&chat)))
            {
                socket.leave(room);
            }
        }
        for chat in chats.into_iter().flatten() {
            socket.join(chat.to_string());
        }
        if let Some(own) = own {
            socket.join(own);
        }
    }

    /// The instance of `chat` that appended to a chat last, as far as is known here.
    pub fn writer_of(&self, chat: ChatId) -> Option<Arc<str>> {
        self.table().room(chat)?.writer()
    }

    /// How many sockets of this user are here.
    pub fn sockets_of(&self, user: UserId) -> usize {
        self.table().sockets_of(user).len()
    }

    /// The socket goes on with another session of the same user.
    pub fn change_session(&self, sid: Sid, session: SessionId) {
        self.table().change_session(sid, session);
    }

    /// A session has been revoked: its sockets hear of it and are disconnected.
    pub fn expel(&self, session: SessionId) {
        let sids = self.table().of_session(session);
        // One that is not connected yet looks for itself when it is.
        for socket in sids.into_iter().filter_map(|sid| self.socket(sid)).filter(|socket| socket.connected()) {
            farewell(socket, "session:revoked");
        }
    }

    async fn read_log(&self, chat_id: ChatId, after: Option<Cursor>) -> Result<Events, Refusal> {
        self.0.calls.idempotent(&ReadLog { chat_id, after, limit: PAGE }).await
    }

    /// The same when it is not urgent.
    async fn read_log_at_leisure(&self, chat_id: ChatId, after: Option<Cursor>) -> Result<Events, Refusal> {
        // The semaphore is never closed.
        let _reader = self.0.readers.acquire().await;
        self.read_log(chat_id, after).await
    }

    /// Who types in a chat and, unless only that, who got and saw what; it is not urgent.
    async fn read_state_at_leisure(&self, chat_id: ChatId, typing_only: bool) -> Result<RoomState, Refusal> {
        let _reader = self.0.readers.acquire().await;
        self.0.calls.idempotent(&GetRoomState { chat_id, typing_only }).await
    }

    /// Subscribes; returns once the server is known to have done so.
    pub async fn subscribe(&self, subject: String) -> Subscriber {
        loop {
            match self.0.nats.client().subscribe(subject.clone()).await {
                Ok(subscriber) => {
                    while !self.echo().await {
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                    return subscriber;
                }
                Err(error) => {
                    tracing::warn!(subject, %error, "cannot subscribe; trying again");
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
    }

    /// A round trip to the server: true once it has read everything sent before.
    async fn echo(&self) -> bool {
        let request = async_nats::Request::new().timeout(Some(ECHO_DEADLINE));
        match self.0.nats.client().send_request(ECHO, request).await {
            Ok(_) => true,
            Err(error) => error.kind() == RequestErrorKind::NoResponders,
        }
    }

    fn spawn_room(&self, room: Arc<Room>, stop: CancellationToken) {
        let rooms = self.clone();
        spawn(stop, move || {
            let (log, signals) = (room::run(room.clone(), rooms.clone()), signals::run(room.clone(), rooms.clone()));
            async {
                tokio::select! { () = log => {}, () = signals => {} }
            }
        });
    }

    fn spawn_person(&self, user: UserId, ready: Arc<watch::Sender<bool>>, stop: CancellationToken) {
        let rooms = self.clone();
        spawn(stop, move || person::run(user, ready.clone(), rooms.clone()));
    }
}

/// Runs `work` until it ends or `stop`; if it panics, again: a room that nobody reads would be silent.
fn spawn<F>(stop: CancellationToken, work: impl Fn() -> F + Send + 'static)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        let work = async move {
            while AssertUnwindSafe(work()).catch_unwind().await.is_err() {
                tracing::error!("following a room or a person panicked; it begins anew");
            }
        };
        stop.run_until_cancelled(work).await
    });
}

/// The Socket.IO room of all sockets of one user.
fn own_room(user: UserId) -> String {
    format!("@{user}")
}

/// Waits until what is to be heard is heard; a client is not let in before.
pub async fn confirmed(mut ready: watch::Receiver<bool>) -> Result<(), Refusal> {
    match tokio::time::timeout(SUBSCRIBED, ready.wait_for(|ready| *ready)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Refusal::unavailable("Chats cannot be followed right now; please try again.")),
    }
}
