//! A client of Socket.IO that is light enough for thousands of them in one process.

mod engine;
#[cfg(test)]
mod official;
mod packet;
mod patience;

pub use engine::Sender;
pub use packet::{Nack, Packet, event, first, first_two};
pub use patience::connect_patiently;
