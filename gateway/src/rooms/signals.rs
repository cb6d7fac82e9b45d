//! What a room says beside its log: who types, and who got and saw how much. Both are states of which only the last
//! counts, so what was missed is found by comparing with the truth.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_nats::Message;
use contract::{
    ChatId, Code, Time, UserId,
    chat::{Chat, ReceiptEntry, ReceiptKind, RoomState, TYPING_SECONDS},
    event::Seq,
    headers,
};
use serde::Serialize;
use socketioxide::{extract::SocketRef, operators::BroadcastOperators};
use tokio::time::{Instant, sleep};

use super::{Rooms, own_room, room::Room};

/// What the room's sockets have been told.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Whether they type, and when that was last heard.
    typing: HashMap<UserId, (bool, Instant)>,
    receipts: HashMap<UserId, Known>,
}

/// What is known of a member's receipts.
#[derive(Debug, Default)]
struct Known {
    entry: ReceiptEntry,
    /// Nobody else is told.
    own: bool,
}

/// `message:delivered`, `message:read`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    chat_id: ChatId,
    user_id: UserId,
    seq: Seq,
    at: Option<Time>,
}

/// `typing`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Typing {
    chat_id: ChatId,
    user_id: UserId,
    #[serde(rename = "typing")]
    types: bool,
}

/// Something passed us by, maybe because NATS was away: what chat services, other gateways and other servers have to say
/// has arrived after this.
const SETTLED: Duration = Duration::from_secs(2);
/// What could not be read is tried again after this.
const AGAIN: Duration = Duration::from_secs(2);

/// Who is said to type for longer than a key lives has stopped, whether we heard of it or not.
const TYPED: Duration = Duration::from_secs(TYPING_SECONDS + 1);

/// Compares with the truth whenever something may have passed by.
pub(super) async fn run(room: Arc<Room>, rooms: Rooms) {
    let mut gaps = rooms.0.nats.gaps();
    gaps.borrow_and_update();
    // Who had begun before we listened, which clients know from the chat they fetched.
    if let Ok(state) = Box::pin(rooms.read_state_at_leisure(room.chat, true)).await {
        let mut signals = room.signals();
        for user in state.typing {
            signals.typing.entry(user).or_insert((true, Instant::now()));
        }
    }
    while gaps.changed().await.is_ok() {
        sleep(SETTLED).await;
        loop {
            match Box::pin(rooms.read_state_at_leisure(room.chat, false)).await {
                Ok(state) => break room.compare(&rooms, &state),
                Err(refusal) if refusal.code == Code::NotFound => break,
                Err(_) => sleep(AGAIN).await,
            }
        }
    }
}

impl Room {
    pub(super) fn hear_typing(&self, rooms: &Rooms, user: UserId, message: &Message) {
        // Both a deleted key and an expired one have no body.
        self.set_typing(rooms, user, !message.payload.is_empty());
    }

    fn set_typing(&self, rooms: &Rooms, user: UserId, typing: bool) {
        let mut signals = self.signals();
        let before = signals.typing.insert(user, (typing, Instant::now()));
        // That somebody stops is said always: there may be those who know them to type and we do not.
        let changed = !typing || before.is_none_or(|(typed, heard)| !typed || heard.elapsed() > TYPED);
        let Some(sockets) = rooms.sockets().filter(|_| changed) else { return };
        let body = Typing { chat_id: self.chat, user_id: user, types: typing };
        self.say(rooms, sockets.within(self.name.clone()).except(own_room(user)), "typing", &body);
    }

    pub(super) fn hear_receipt(&self, rooms: &Rooms, user: UserId, message: &Message) {
        let Ok(entry) = serde_json::from_slice::<ReceiptEntry>(&message.payload) else { return };
        let header = |name| message.headers.as_ref()?.get(name).map(async_nats::HeaderValue::as_str);
        let own = header(headers::AUDIENCE) == Some(headers::AUDIENCE_OWN);
        self.receipt(rooms, user, &entry, own);
    }

    /// Says what is new of an entry. Which change it is said to be does not matter: one before it may have been missed.
    fn receipt(&self, rooms: &Rooms, user: UserId, entry: &ReceiptEntry, own: bool) {
        let mut signals = self.signals();
        let known = signals.receipts.entry(user).or_default();
        let before = known.entry.clone();
        known.own = own;
        if entry.delivered > before.delivered {
            (known.entry.delivered, known.entry.delivered_at) = (entry.delivered, entry.delivered_at);
        }
        if entry.seen > before.seen {
            (known.entry.seen, known.entry.seen_at) = (entry.seen, entry.seen_at);
        }
        for (kind, seq, at) in news(&before, &known.entry) {
            let Some(sockets) = rooms.sockets() else { return };
            let audience = if own { own_room(user) } else { self.name.clone() };
            let body = Receipt { chat_id: self.chat, user_id: user, seq, at };
            self.say(rooms, sockets.within(audience), kind.event(), &body);
        }
    }

    /// Lets sockets of a user in who have seen `chat` as it was a moment ago: what was said to the room since then they
    /// are told first.
    pub(super) fn let_in(&self, rooms: &Rooms, user: UserId, chat: &Chat, sockets: &[SocketRef]) {
        // Held until they are in: nothing is said meanwhile.
        let signals = self.signals();
        let nothing = ReceiptEntry::default();
        for (member, known) in signals.receipts.iter().filter(|(member, known)| !known.own || **member == user) {
            let seen = chat.receipts.iter().find(|receipt| receipt.user_id == *member);
            for (kind, seq, at) in news(seen.map_or(&nothing, |receipt| &receipt.entry), &known.entry) {
                let body = Receipt { chat_id: self.chat, user_id: *member, seq, at };
                for socket in sockets {
                    rooms.tell(socket, kind.event(), &body);
                }
            }
        }
        for (typist, (typing, heard)) in signals.typing.iter().filter(|(typist, _)| **typist != user) {
            let typing = *typing && heard.elapsed() < TYPED;
            if typing != chat.typing.contains(typist) {
                let body = Typing { chat_id: self.chat, user_id: *typist, types: typing };
                for socket in sockets {
                    rooms.tell(socket, "typing", &body);
                }
            }
        }
        for socket in sockets {
            socket.join(self.name.clone());
        }
    }

    /// Says what changed unheard.
    pub(super) fn compare(&self, rooms: &Rooms, state: &RoomState) {
        for receipt in &state.receipts {
            self.receipt(rooms, receipt.user_id, &receipt.entry, false);
        }
        let typing: HashSet<UserId> = state.typing.iter().copied().collect();
        let before: HashSet<UserId> =
            self.signals().typing.iter().filter(|(_, (typing, _))| *typing).map(|(user, _)| *user).collect();
        for user in before.symmetric_difference(&typing) {
            self.set_typing(rooms, *user, typing.contains(user));
        }
    }

    fn say<T: Serialize>(&self, rooms: &Rooms, sockets: BroadcastOperators, event: &'static str, body: &T) {
        metrics::counter!("natter_gateway_events_total", "event" => event).increment(1);
        if super::room::overflown(sockets.emit(event, body)) {
            rooms.part_with_slow(self, None);
        }
    }
}

/// What there is to say of a member's receipts.
fn news(before: &ReceiptEntry, now: &ReceiptEntry) -> impl Iterator<Item = (ReceiptKind, Seq, Option<Time>)> {
    // What was seen was delivered: it goes without saying.
    let delivered = (now.delivered > before.delivered && now.delivered > now.seen).then_some((
        ReceiptKind::Delivered,
        now.delivered,
        now.delivered_at,
    ));
    let seen = (now.seen > before.seen).then_some((ReceiptKind::Read, now.seen, now.seen_at));
    delivered.into_iter().chain(seen)
}
