//! A client of Socket.IO that is light enough for thousands of them in one process.

mod engine;
mod packet;

pub use engine::{Sender, connect};
pub use packet::{Nack, Packet, event, first};
