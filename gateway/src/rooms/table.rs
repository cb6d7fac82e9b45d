//! Who is where: sockets, the people behind them, and the rooms they are in. No I/O but to start and end subscriptions.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use contract::{ChatId, SessionId, UserId, event::Cursor};
use socketioxide::socket::Sid;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Rooms, room::Room};

#[derive(Default)]
pub(super) struct Table {
    seats: HashMap<Sid, Seat>,
    people: HashMap<UserId, Person>,
    rooms: HashMap<ChatId, Entry>,
    places: u64,
}

/// A socket.
struct Seat {
    /// Whose drop frees this seat: a client that disconnects and connects again may come with the same socket id.
    place: u64,
    user: UserId,
    session: SessionId,
    chats: HashSet<ChatId>,
    /// It has entered the rooms it found its user to be in. Until then it is on its way into all of them.
    entered: bool,
    /// It reads too slowly and is about to be cut off.
    given_up: bool,
}

/// A user with sockets here.
struct Person {
    sockets: HashSet<Sid>,
    ready: watch::Receiver<bool>,
    /// Chats they were removed from while here, and when: what says they are members may be older than that.
    left: HashMap<ChatId, Cursor>,
    _stop: DropGuard,
}

struct Entry {
    room: Arc<Room>,
    members: HashSet<Sid>,
    /// Others who need the room to be followed.
    holds: usize,
    _stop: DropGuard,
}

/// Keeps a room followed although nobody is in it yet.
pub(super) struct Hold {
    rooms: Rooms,
    pub(super) room: Arc<Room>,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.rooms.table().release(self.room.chat);
    }
}

impl Table {
    /// A socket takes its seat; answers the number of its place and whether its person's subject is followed.
    pub(super) fn add_seat(
        &mut self,
        rooms: &Rooms,
        sid: Sid,
        user: UserId,
        session: SessionId,
    ) -> (u64, watch::Receiver<bool>) {
        if let Some(before) = self.seats.get(&sid) {
            self.remove_seat(sid, before.place);
        }
        self.places += 1;
        self.seats.insert(
            sid,
            Seat { place: self.places, user, session, chats: HashSet::new(), entered: false, given_up: false },
        );
        metrics::gauge!("natter_gateway_sockets").increment(1.0);
        let person = self.people.entry(user).or_insert_with(|| {
            let (ready, receiver) = watch::channel(false);
            let stop = CancellationToken::new();
            rooms.spawn_person(user, Arc::new(ready), stop.clone());
            Person { sockets: HashSet::new(), ready: receiver, left: HashMap::new(), _stop: stop.drop_guard() }
        });
        person.sockets.insert(sid);
        (self.places, person.ready.clone())
    }

    pub(super) fn remove_seat(&mut self, sid: Sid, place: u64) {
        if self.seats.get(&sid).is_none_or(|seat| seat.place != place) {
            return;
        }
        let Some(seat) = self.seats.remove(&sid) else { return };
        metrics::gauge!("natter_gateway_sockets").decrement(1.0);
        for chat in seat.chats {
            self.leave(chat, sid);
        }
        if let Some(person) = self.people.get_mut(&seat.user) {
            person.sockets.remove(&sid);
            if person.sockets.is_empty() {
                self.people.remove(&seat.user);
            }
        }
    }

    /// The socket gets nothing any more, whatever it is a member of; false where that was so before.
    pub(super) fn give_up(&mut self, sid: Sid) -> bool {
        let Some(seat) = self.seats.get_mut(&sid).filter(|seat| !seat.given_up) else { return false };
        seat.given_up = true;
        let chats = std::mem::take(&mut seat.chats);
        for chat in chats {
            self.leave(chat, sid);
        }
        true
    }

    /// A socket enters rooms; answers which of them are followed.
    pub(super) fn enter(&mut self, rooms: &Rooms, sid: Sid, chats: Vec<ChatId>) -> Vec<watch::Receiver<bool>> {
        let Some(seat) = self.seats.get_mut(&sid) else { return Vec::new() };
        seat.entered = true;
        let left = self.people.get(&seat.user).map(|person| &person.left);
        let mut waiting = Vec::with_capacity(chats.len());
        for chat in chats {
            if left.is_none_or(|left| !left.contains_key(&chat)) && seat.chats.insert(chat) {
                let entry = self.rooms.entry(chat).or_insert_with(|| open(rooms, chat));
                entry.members.insert(sid);
                waiting.push(entry.room.followed());
            }
        }
        waiting
    }

    /// Keeps a room followed for as long as the hold lives.
    pub(super) fn hold(&mut self, rooms: &Rooms, chat: ChatId) -> Hold {
        let entry = self.rooms.entry(chat).or_insert_with(|| open(rooms, chat));
        entry.holds += 1;
        Hold { rooms: rooms.clone(), room: entry.room.clone() }
    }

    fn release(&mut self, chat: ChatId) {
        if let Some(entry) = self.rooms.get_mut(&chat) {
            entry.holds -= 1;
            self.close_if_empty(chat);
        }
    }

    /// Whether a socket of this user is on its way into its rooms.
    pub(super) fn is_entering(&self, user: UserId) -> bool {
        let mut sockets = self.people.get(&user).into_iter().flat_map(|person| &person.sockets);
        sockets.any(|sid| self.seats.get(sid).is_some_and(|seat| !seat.entered))
    }

    /// Sockets of this user that are not in this room.
    pub(super) fn outside(&self, user: UserId, chat: ChatId) -> Vec<Sid> {
        let sockets = self.people.get(&user).into_iter().flat_map(|person| &person.sockets);
        let outside = |sid: &Sid| self.seats.get(sid).is_some_and(|seat| !seat.given_up && !seat.chats.contains(&chat));
        sockets.copied().filter(outside).collect()
    }

    /// Sockets of a user enter a room that is being held, as members at `cursor`; answers which of them do. None where
    /// the user has been removed later than that.
    pub(super) fn enter_late(&mut self, user: UserId, chat: ChatId, cursor: Cursor, sids: &[Sid]) -> Vec<Sid> {
        let Some(person) = self.people.get_mut(&user) else { return Vec::new() };
        if person.left.get(&chat).is_some_and(|left| *left > cursor) {
            return Vec::new();
        }
        person.left.remove(&chat);
        let Some(entry) = self.rooms.get_mut(&chat) else { return Vec::new() };
        let mut entered = Vec::with_capacity(sids.len());
        for sid in sids {
            if self.seats.get_mut(sid).is_some_and(|seat| !seat.given_up && seat.chats.insert(chat)) {
                entry.members.insert(*sid);
                entered.push(*sid);
            }
        }
        entered
    }

    /// Whether the user was removed from the chat at or after `cursor`, as far as is known here.
    pub(super) fn has_left(&self, user: UserId, chat: ChatId, cursor: Cursor) -> bool {
        self.people.get(&user).and_then(|person| person.left.get(&chat)).is_some_and(|left| *left >= cursor)
    }

    /// The user is no longer in the chat since `cursor`; answers the sockets that were in its room.
    pub(super) fn evict(&mut self, user: UserId, chat: ChatId, cursor: Cursor) -> Vec<Sid> {
        let Some(person) = self.people.get_mut(&user) else { return Vec::new() };
        let left = person.left.entry(chat).or_default();
        *left = cursor.max(*left);
        let sids: Vec<_> = person.sockets.iter().copied().collect();
        let inside = |sid: &Sid| self.seats.get_mut(sid).is_some_and(|seat| seat.chats.remove(&chat));
        let evicted: Vec<_> = sids.into_iter().filter(inside).collect();
        for sid in &evicted {
            self.leave(chat, *sid);
        }
        evicted
    }

    /// The chat is no more; answers the sockets that were in its room.
    pub(super) fn evict_all(&mut self, chat: ChatId) -> Vec<Sid> {
        let Some(entry) = self.rooms.get_mut(&chat) else { return Vec::new() };
        let members: Vec<_> = std::mem::take(&mut entry.members).into_iter().collect();
        for sid in &members {
            if let Some(seat) = self.seats.get_mut(sid) {
                seat.chats.remove(&chat);
            }
        }
        self.close_if_empty(chat);
        members
    }

    fn leave(&mut self, chat: ChatId, sid: Sid) {
        if let Some(entry) = self.rooms.get_mut(&chat) {
            entry.members.remove(&sid);
            self.close_if_empty(chat);
        }
    }

    fn close_if_empty(&mut self, chat: ChatId) {
        if self.rooms.get(&chat).is_some_and(|entry| entry.members.is_empty() && entry.holds == 0) {
            self.rooms.remove(&chat);
            metrics::gauge!("natter_gateway_rooms").decrement(1.0);
        }
    }

    pub(super) fn chats_of(&self, sid: Sid) -> Option<&HashSet<ChatId>> {
        self.seats.get(&sid).map(|seat| &seat.chats)
    }

    pub(super) fn user_of(&self, sid: Sid) -> Option<UserId> {
        self.seats.get(&sid).map(|seat| seat.user)
    }

    pub(super) fn sockets_of(&self, user: UserId) -> Vec<Sid> {
        self.people.get(&user).map(|person| person.sockets.iter().copied().collect()).unwrap_or_default()
    }

    /// Chats that sockets of this user are in.
    pub(super) fn chats_of_user(&self, user: UserId) -> HashSet<ChatId> {
        let sockets = self.people.get(&user).into_iter().flat_map(|person| &person.sockets);
        sockets.filter_map(|sid| self.chats_of(*sid)).flatten().copied().collect()
    }

    pub(super) fn room(&self, chat: ChatId) -> Option<&Room> {
        self.rooms.get(&chat).map(|entry| &*entry.room)
    }

    pub(super) fn members(&self, chat: ChatId) -> Vec<Sid> {
        self.rooms.get(&chat).map(|entry| entry.members.iter().copied().collect()).unwrap_or_default()
    }

    /// How many sockets are in a chat's room.
    pub(super) fn size_of(&self, chat: ChatId) -> usize {
        self.rooms.get(&chat).map_or(0, |entry| entry.members.len())
    }

    pub(super) fn change_session(&mut self, sid: Sid, session: SessionId) {
        if let Some(seat) = self.seats.get_mut(&sid) {
            seat.session = session;
        }
    }

    /// Revocations are rare: looking at every seat is cheaper than an index.
    pub(super) fn of_session(&self, session: SessionId) -> Vec<Sid> {
        self.seats.iter().filter(|(_, seat)| seat.session == session).map(|(sid, _)| *sid).collect()
    }
}

fn open(rooms: &Rooms, chat: ChatId) -> Entry {
    metrics::gauge!("natter_gateway_rooms").increment(1.0);
    let room = Arc::new(Room::new(chat));
    let stop = CancellationToken::new();
    rooms.spawn_room(room.clone(), stop.clone());
    Entry { room, members: HashSet::new(), holds: 0, _stop: stop.drop_guard() }
}
