//! Who wants to know whose presence. All changes come on one subscription, since people come and go far less often than
//! they write; they are passed on to the sockets that asked.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::Message;
use contract::{
    Actor, Refusal, SessionId, UserId,
    presence::{GetPresence, MAX_PRESENCE, Presence, Seen},
    room,
    user::Role,
};
use futures::StreamExt;
use service::{Lifecycle, Nats};
use socketioxide::{SocketIo, extract::SocketRef, socket::Sid};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::{
    calls::Calls,
    rooms::{Rooms, confirmed},
};

/// Most people one socket watches: as many as a group has members.
const MAX_WATCHED: usize = 1_000;
/// After NATS was away all gateways put their sessions back; what others see is right after this.
const SETTLED: Duration = Duration::from_secs(4);
/// What could not be asked is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Sockets that watch people; cheap to clone.
#[derive(Clone)]
pub struct Watchers(Arc<Inner>);

struct Inner {
    io: SocketIo,
    calls: Calls,
    rooms: Rooms,
    table: Mutex<Table>,
    /// Whether changes are being heard.
    following: watch::Sender<bool>,
}

#[derive(Default)]
struct Table {
    people: HashMap<UserId, Watched>,
    sockets: HashMap<Sid, HashSet<UserId>>,
}

#[derive(Default)]
struct Watched {
    by: HashSet<Sid>,
    /// The last that was heard or answered.
    last: Option<Seen>,
    /// Something may have passed by since; if NATS was away, revisions may have begun anew.
    doubted: bool,
}

impl Watchers {
    #[must_use]
    pub fn new(io: SocketIo, calls: Calls, rooms: Rooms) -> Self {
        let (table, following) = (Mutex::default(), watch::Sender::new(false));
        Self(Arc::new(Inner { io, calls, rooms, table, following }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the socket hears of these people's changes; answers what they are at the moment.
    pub async fn watch(&self, sid: Sid, actor: Actor, user_ids: Vec<UserId>) -> Result<Vec<Seen>, Refusal> {
        check(&user_ids)?;
        // First what changes the answer, then the answer.
        confirmed(self.0.following.subscribe()).await?;
        let new = self.table().add(sid, &user_ids)?;
        match self.0.calls.idempotent(&GetPresence { actor, user_ids }).await {
            Ok(answer) => {
                let mut table = self.table();
                Ok(answer.presence.into_iter().map(|seen| table.newer(seen)).collect())
            }
            Err(refusal) => {
                self.table().remove(sid, &new);
                Err(refusal)
            }
        }
    }

    /// A change may have been heard between an answer and its arrival: what is newer than the answer is said again.
    pub fn catch_up(&self, socket: &SocketRef, answered: &[Seen]) {
        let table = self.table();
        for seen in answered {
            let watched = table.people.get(&seen.presence.user_id);
            if let Some(last) = watched.and_then(|watched| watched.newer_than(seen.revision)) {
                self.0.rooms.tell(socket, "presence", &last.presence);
            }
        }
    }

    pub fn unwatch(&self, sid: Sid, user_ids: &[UserId]) {
        self.table().remove(sid, user_ids);
    }

    /// The socket is gone.
    pub fn forget(&self, sid: Sid) {
        let mut table = self.table();
        let all: Vec<UserId> = table.sockets.get(&sid).into_iter().flatten().copied().collect();
        table.remove(sid, &all);
    }

    /// Follows everybody's presence in the background.
    pub fn follow(&self, nats: &Nats, lifecycle: &Lifecycle) {
        let (this, mut gaps, soft) = (self.clone(), nats.gaps(), lifecycle.soft().clone());
        lifecycle.keep("watch", async move {
            gaps.borrow_and_update();
            let mut messages = this.0.rooms.subscribe(room::PRESENCE.to_owned()).await;
            this.0.following.send_replace(true);
            let mut compare_at = None;
            loop {
                tokio::select! {
                    biased;
                    () = soft.cancelled() => return,
                    message = messages.next() => match message {
                        Some(message) => this.hear(&message),
                        None => return,
                    },
                    _ = gaps.changed() => {
                        this.table().people.values_mut().for_each(|watched| watched.doubted = true);
                        compare_at = Some(Instant::now() + SETTLED);
                    }
                    () = sleep_until(compare_at.unwrap_or_else(Instant::now)), if compare_at.is_some() => {
                        compare_at = this.compare().await.err().map(|_| Instant::now() + AGAIN);
                    }
                }
            }
        });
    }

    fn hear(&self, message: &Message) {
        // A key that expires is republished without a body.
        let Ok(presence) = serde_json::from_slice::<Presence>(&message.payload) else { return };
        let revision = message.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
        let revision = revision.and_then(|revision| revision.as_str().parse().ok()).unwrap_or(0);
        if room::parse_presence(&message.subject) == Some(presence.user_id) {
            self.say(&Seen { presence, revision });
        }
    }

    /// Tells those who watch, unless they have been told.
    fn say(&self, seen: &Seen) {
        let mut table = self.table();
        let Some(watched) = table.people.get_mut(&seen.presence.user_id) else { return };
        if !watched.doubted && watched.last.as_ref().is_some_and(|last| last.revision >= seen.revision) {
            return;
        }
        let said = watched.last.replace(seen.clone());
        watched.doubted = false;
        if said.is_some_and(|said| said.presence == seen.presence) {
            return;
        }
        let sockets = self.0.io.of("/");
        for socket in watched.by.iter().filter_map(|sid| sockets.as_ref()?.get_socket(*sid)) {
            self.0.rooms.tell(&socket, "presence", &seen.presence);
        }
    }

    /// Something may have passed by: asks for everybody who is watched.
    async fn compare(&self) -> Result<(), Refusal> {
        let all: Vec<UserId> = self.table().people.keys().copied().collect();
        for user_ids in all.chunks(MAX_PRESENCE) {
            // Who asks is of no interest to `user` here.
            let actor = Actor { user_id: UserId::default(), session_id: SessionId::default(), role: Role::User };
            let answer = self.0.calls.idempotent(&GetPresence { actor, user_ids: user_ids.to_vec() }).await?;
            answer.presence.iter().for_each(|seen| self.say(seen));
        }
        Ok(())
    }
}

impl Watched {
    fn newer_than(&self, revision: u64) -> Option<&Seen> {
        self.last.as_ref().filter(|last| !self.doubted && last.revision > revision)
    }
}

impl Table {
    /// Answers who had not been watched by this socket.
    fn add(&mut self, sid: Sid, user_ids: &[UserId]) -> Result<Vec<UserId>, Refusal> {
        let watched = self.sockets.entry(sid).or_default();
        let new: HashSet<UserId> = user_ids.iter().copied().filter(|user| !watched.contains(user)).collect();
        if watched.len() + new.len() > MAX_WATCHED {
            return Err(Refusal::field("userIds", format!("one connection watches at most {MAX_WATCHED} people")));
        }
        watched.extend(&new);
        for user in &new {
            self.people.entry(*user).or_default().by.insert(sid);
        }
        Ok(new.into_iter().collect())
    }

    fn remove(&mut self, sid: Sid, user_ids: &[UserId]) {
        let Some(watched) = self.sockets.get_mut(&sid) else { return };
        for user in user_ids {
            watched.remove(user);
            if let Some(person) = self.people.get_mut(user) {
                person.by.remove(&sid);
                if person.by.is_empty() {
                    self.people.remove(user);
                }
            }
        }
        if watched.is_empty() {
            self.sockets.remove(&sid);
        }
    }

    /// An answer, unless something newer has been heard.
    fn newer(&mut self, seen: Seen) -> Seen {
        let Some(watched) = self.people.get_mut(&seen.presence.user_id) else { return seen };
        if let Some(last) = watched.newer_than(seen.revision) {
            return last.clone();
        }
        match &watched.last {
            // Others have been told something else: what is heard next is news to them, though not to who asks.
            Some(last) if last.presence != seen.presence => {
                if watched.doubted {
                    watched.last = None;
                }
            }
            _ if watched.doubted => {}
            _ => watched.last = Some(seen.clone()),
        }
        seen
    }
}

/// A question about too many people is refused before it is asked.
pub fn check(user_ids: &[UserId]) -> Result<(), Refusal> {
    if user_ids.len() > MAX_PRESENCE {
        return Err(Refusal::field("userIds", format!("must be at most {MAX_PRESENCE}")));
    }
    Ok(())
}
