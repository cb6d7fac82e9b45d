//! The limit of delivering: the same load on a server that only broadcasts.

use anyhow::Result;

use super::server::{self, Server};
use crate::load::{self, Outcome, Room, Seat, Shape};

/// Gives the chats of these rooms, all new, the same load. What comes of it also says what this program itself can do.
pub async fn run(rooms: &[Room], seats: usize, shape: Shape) -> Result<Outcome> {
    let server = Server::start().await?;
    let rooms: Vec<_> = rooms.iter().map(|room| Room { last_seq: 0, ..room.clone() }).collect();
    let mut heard = vec![Vec::new(); seats];
    for room in &rooms {
        room.sockets.iter().for_each(|socket| heard[*socket].push(room));
    }
    let seat = |rooms: Vec<&Room>| Seat { gateway: server.url.clone(), token: server::token(rooms) };
    let seats: Vec<_> = heard.into_iter().map(seat).collect();
    load::run(&seats, rooms, shape, &server.processes()).await?.measured()
}
