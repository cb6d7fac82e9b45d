//! Socket.IO: connections and the events of clients.

mod ack;
mod auth;
mod connect;
mod connection;
mod events;
mod line;
mod messages;
mod presence;
mod signals;

use std::time::Duration;

use serde_json::json;
use socketioxide::{ParserConfig, SocketIo, extract::SocketRef, layer::SocketIoLayer};

use crate::config::SocketConfig;
pub use connect::open;

/// Where the official client looks for us.
pub const PATH: &str = "/socket.io";
/// Most binary attachments of a packet: no event has any.
const BINARIES: usize = 4;
/// A socket whose buffer is full is told good-bye again after this.
const PATIENCE: Duration = Duration::from_millis(100);

/// The server, without any namespace yet.
pub fn build(config: &SocketConfig) -> (SocketIoLayer, SocketIo) {
    let parser =
        ParserConfig::common().max_incoming_binaries(BINARIES).max_incoming_binary_buf_size(config.max_payload);
    SocketIo::builder()
        .req_path(PATH)
        .max_payload(config.max_payload as u64)
        .ws_max_message_size(config.max_payload)
        .ws_max_frame_size(config.max_payload)
        // 3 KB less for each idle socket.
        .ws_read_buffer_size(1024)
        .max_buffer_size(config.buffer)
        .ping_interval(Duration::from_secs(config.ping_interval))
        .ping_timeout(Duration::from_secs(config.ping_timeout))
        .connect_timeout(Duration::from_secs(config.connect_timeout))
        .with_parser(parser)
        .build_layer()
}

/// Tells a socket why it has to go and disconnects it; it gets nothing else from here on.
pub fn farewell(socket: SocketRef, event: &'static str) {
    socket.leave_all();
    tokio::spawn(async move {
        while socket.connected() {
            // Both need room in the socket's buffer.
            if socket.emit(event, &json!({})).is_ok() {
                while socket.connected() && socket.clone().disconnect().is_err() {
                    tokio::time::sleep(PATIENCE).await;
                }
                return;
            }
            tokio::time::sleep(PATIENCE).await;
        }
    });
}
