//! Sockets that read too slowly: bounded by their buffer, told why, cut off. Their client connects again and catches up;
//! nobody else waits for them.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;
use socketioxide::{SendError, SocketError, extract::SocketRef};

use super::{Rooms, room::Room};

/// What a client hears before its connection is cut, if it still reads.
const SLOW: &str = "connection:slow";
/// It has this long to make room for that,
const PATIENCE: Duration = Duration::from_secs(2);
/// which is looked at this often.
const LOOK: Duration = Duration::from_millis(50);
/// What has been put into its buffer may leave within this.
const LAST_WORD: Duration = Duration::from_millis(250);

impl Rooms {
    /// Emits to one socket; one whose buffer is full has to go.
    pub fn tell<T: Serialize + ?Sized>(&self, socket: &SocketRef, event: &str, data: &T) {
        if matches!(socket.emit(event, data), Err(SendError::Socket(SocketError::InternalChannelFull))) {
            self.part_with(socket.clone());
        }
    }

    /// An event did not fit into the buffers of `full` sockets of a room; socketioxide does not say whose. Everybody is
    /// told where the log stands: who cannot take that either has to go, and if that leaves somebody who has read on
    /// just now, they see from `chat:cursor` that they missed something.
    pub(super) fn part_with_slow(&self, room: &Room, cursor: Option<contract::event::Cursor>) {
        let members = self.table().members(room.chat);
        for socket in members.into_iter().filter_map(|sid| self.socket(sid)).filter(|socket| socket.connected()) {
            self.tell(&socket, "chat:cursor", &json!({ "chatId": room.chat, "cursor": cursor.unwrap_or(0) }));
        }
    }

    /// A socket whose buffer is full has lost something and has to go.
    pub fn part_with(&self, socket: SocketRef) {
        // Nothing more is for it, and nobody parts with it twice.
        if !self.table().give_up(socket.id) {
            return;
        }
        socket.leave_all();
        metrics::counter!("natter_gateway_slow_sockets_total").increment(1);
        let user = self.table().user_of(socket.id).map(tracing::field::display);
        tracing::info!(user, sid = %socket.id, "a client reads too slowly, or sends too fast, and is cut off");
        let rooms = self.clone();
        tokio::spawn(async move {
            let told = async {
                while socket.connected() && socket.emit(SLOW, &json!({})).is_err() {
                    tokio::time::sleep(LOOK).await;
                }
                tokio::time::sleep(LAST_WORD).await;
            };
            let _ = tokio::time::timeout(PATIENCE, told).await;
            rooms.0.wires.cut(&socket);
            // A poll that is waiting has to end, so that the next one is refused.
            let _ = socket.emit(SLOW, &json!({}));
        });
    }
}
