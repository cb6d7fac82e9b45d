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
    chat::{ReceiptEntry, ReceiptKind, RoomState, TYPING_SECONDS},
    event::Seq,
    headers,
};
use serde::Serialize;
use serde_json::json;
use socketioxide::operators::BroadcastOperators;
use tokio::time::{Instant, sleep};

use super::{Rooms, own_room, room::Room};

/// What the room's sockets have been told.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// And when that was last heard.
    typing: HashMap<UserId, Instant>,
    /// Delivered and seen.
    receipts: HashMap<UserId, (Seq, Seq)>,
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
        room.signals().typing.extend(state.typing.into_iter().map(|user| (user, Instant::now())));
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
        let changed = if typing {
            signals.typing.insert(user, Instant::now()).is_none_or(|heard| heard.elapsed() > TYPED)
        } else {
            // Somebody may know them to type of whom we have not heard.
            signals.typing.remove(&user);
            true
        };
        let Some(sockets) = rooms.sockets().filter(|_| changed) else { return };
        let body = json!({ "chatId": self.chat, "userId": user, "typing": typing });
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
        let before = *known;
        *known = (before.0.max(entry.delivered), before.1.max(entry.seen));
        let now = *known;
        for kind in [ReceiptKind::Delivered, ReceiptKind::Read] {
            let (seq, at) = match kind {
                ReceiptKind::Read if now.1 > before.1 => (entry.seen, entry.seen_at),
                // What was seen was delivered: it goes without saying.
                ReceiptKind::Delivered if now.0 > before.0 && now.0 > now.1 => (entry.delivered, entry.delivered_at),
                _ => continue,
            };
            let Some(sockets) = rooms.sockets() else { return };
            let audience = if own { own_room(user) } else { self.name.clone() };
            let body = Receipt { chat_id: self.chat, user_id: user, seq, at };
            self.say(rooms, sockets.within(audience), kind.event(), &body);
        }
    }

    /// Says what changed unheard.
    pub(super) fn compare(&self, rooms: &Rooms, state: &RoomState) {
        for receipt in &state.receipts {
            self.receipt(rooms, receipt.user_id, &receipt.entry, false);
        }
        let typing: HashSet<UserId> = state.typing.iter().copied().collect();
        let before: HashSet<UserId> = self.signals().typing.keys().copied().collect();
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
