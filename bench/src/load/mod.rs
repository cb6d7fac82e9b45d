//! Messages in chats over sockets: load for a time, and waiting for what is still under way.

mod book;
mod ledger;
mod outcome;
mod tally;

use std::{
    num::NonZeroU64,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use tokio::{
    sync::oneshot,
    task::{JoinHandle, JoinSet, spawn_blocking},
    time::{sleep, timeout},
};

use crate::{
    client::{self, Packet, Sender},
    generator,
    latency::Window,
    processes::Processes,
    refused::Refused,
};
use book::Book;
use ledger::Next;
use tally::Tally;

pub use ledger::Until;
pub use outcome::Outcome;

/// Connections made at a time.
const AT_A_TIME: usize = 16;
/// An answer that has not come by then does not hold up its place any longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// A refused sender waits at least this long, so that refusals do not become the load.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);
/// What is not there so long after the last send is missing.
const DRAIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A socket that is to be.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Such as `http://127.0.0.1:8080`.
    pub gateway: String,
    pub token: String,
}

/// A chat and the sockets that hear it, by their place among all seats.
#[derive(Debug, Clone)]
pub struct Room {
    pub id: String,
    pub last_seq: u64,
    pub sockets: Vec<usize>,
}

/// How much and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Closed loop: messages of each chat under way at a time, and when the next may follow.
    pub in_flight: u16,
    pub until: Until,
    /// Open loop: messages per second in all chats together, instead.
    pub rate: Option<NonZeroU64>,
    /// Seconds, of which only the latter count.
    pub warm_up: u64,
    pub seconds: u64,
    /// Characters of each message.
    pub text: u16,
}

/// Connects a socket for each seat, loads the chats with messages and says what became of them.
pub async fn run(seats: &[Seat], rooms: Vec<Room>, shape: Shape, processes: &Processes) -> Result<Outcome> {
    let tally = Arc::new(Tally::default());
    let book = Arc::new(Book::new(rooms, shape.until, shape.text.into(), &tally));
    let (senders, connections) = connect(seats, &book).await?;

    let start = Instant::now();
    let window = Window::after(start, shape.warm_up, shape.seconds);
    tally.begin(window);
    let processes = tokio::spawn(processes.clone().during(window));
    let woken_late = tokio::spawn(generator::woken_late(window));
    let senders = Arc::new(senders);
    let load = Load { book: Arc::clone(&book), senders: Arc::clone(&senders) };
    match shape.rate {
        Some(rate) => spawn_blocking(move || load.at_rate(rate, start, window.to)).await?,
        None => load.in_turn(shape.in_flight, window.to).await,
    }
    // A connection ends when its sender is gone: not before the last answers are in.
    drain(&book).await;
    drop(senders);

    let ended = join_all(connections).await;
    let ended = ended.into_iter().filter_map(|end| end.map_err(anyhow::Error::from).flatten().err());
    let disconnected = ended.map(|reason| format!("{reason:#}")).collect();
    Ok(Outcome::new(window, &book, &tally, disconnected, processes.await?, &woken_late.await?))
}

/// A socket for each seat, in their order.
async fn connect(seats: &[Seat], book: &Arc<Book>) -> Result<(Vec<Sender>, Vec<JoinHandle<Result<()>>>)> {
    let connect = |(socket, seat): (usize, &Seat)| {
        let (book, Seat { gateway, token }) = (Arc::clone(book), seat.clone());
        async move {
            let incoming = || {
                let book = Arc::clone(&book);
                move |packet: Packet<'_>, now| book.receive(socket, &packet, now)
            };
            // Who comes all at once may be refused for a while; that is no part of what is measured.
            client::connect_patiently(&gateway, &token, incoming, |_| ()).await
        }
    };
    let connections: Vec<_> =
        stream::iter(seats.iter().enumerate()).map(connect).buffered(AT_A_TIME).try_collect().await?;
    Ok(connections.into_iter().unzip())
}

/// Until everything is accounted for, or given up.
async fn drain(book: &Book) {
    let settled = async {
        while !book.chats().iter().all(|chat| chat.ledger().is_settled()) {
            sleep(LOOK_AGAIN).await;
        }
    };
    // What is missing then is for the report.
    let _ = timeout(DRAIN, settled).await;
}

#[derive(Clone)]
struct Load {
    book: Arc<Book>,
    senders: Arc<Vec<Sender>>,
}

impl Load {
    /// Closed loop: as fast as it goes, with so many messages of each chat under way.
    async fn in_turn(self, in_flight: u16, end: Instant) {
        let mut places = JoinSet::new();
        for chat in 0..self.book.chats().len() {
            for _ in 0..in_flight {
                let load = self.clone();
                places.spawn(async move {
                    while Instant::now() < end {
                        let next = load.send(chat, Instant::now());
                        if let Ok(Ok(Err(wait))) = timeout(PATIENCE, next).await {
                            sleep(wait.max(AFTER_REFUSAL)).await;
                        }
                    }
                });
            }
        }
        places.join_all().await;
    }

    /// Open loop: so many per second, whatever becomes of them. Blocks, as a thread's sleep is more exact than tokio's.
    fn at_rate(self, rate: NonZeroU64, start: Instant, end: Instant) {
        for (number, chat) in (0..).zip((0..self.book.chats().len()).cycle()) {
            let intended = start + Duration::from_nanos(1_000_000_000 * number / rate);
            if intended >= end {
                return;
            }
            thread::sleep(intended.saturating_duration_since(Instant::now()));
            // Its answer finds its way into the ledger.
            drop(self.send(chat, intended));
        }
    }

    /// Sends a message; the receiver hears when the next may follow.
    fn send(&self, index: usize, intended: Instant) -> oneshot::Receiver<Next> {
        let chat = &self.book.chats()[index];
        let (number, place, next) = chat.ledger().begin(intended);
        let packet = self.book.packet(index, number);
        if packet.and_then(|packet| self.senders[chat.sockets[place]].send(packet)).is_err() {
            chat.ledger().refused(number, &Refused::new("disconnected", None));
        }
        next
    }
}
