//! How much one client may ask of this gateway, and how much all of them together: past it there is a refusal, at once,
//! and never a queue that grows.

mod network;
mod turns;
mod work;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use contract::{Refusal, UserId};
use service::{Lifecycle, Rates};

use crate::config::LimitsConfig;
use network::Network;
use turns::{Turn, Turns};
pub use work::{Budget, Work};

/// Bytes of an answer to `sync` that cost as much as a request.
const BYTES_PER_REQUEST: usize = 4 * 1024;
/// How many wait with a password for each that is worked on: more would not have their turn in time.
const WAITING: usize = 8;
/// People in a question about presence, or chats in one about what was missed, that cost as much as a request.
const ITEMS_PER_REQUEST: usize = 10;

/// The limits of this gateway; cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    sign_in: Rates<Network>,
    connect: Rates<Network>,
    requests: Rates<UserId>,
    work: Budget,
    catching_up: Turns,
    passwords: Turns,
    sockets: Arc<AtomicUsize>,
    sockets_in_all: usize,
    sockets_per_user: usize,
}

/// One of the sockets that this gateway has room for, until it is dropped.
pub struct Seat(Arc<AtomicUsize>);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Limits {
    #[must_use]
    pub fn new(config: &LimitsConfig) -> Self {
        Self(Arc::new(Inner {
            sign_in: Rates::new("sign_in", config.sign_in),
            connect: Rates::new("connect", config.connect),
            requests: Rates::new("requests", config.requests),
            work: Budget::new(config.work_bytes),
            // Each of them has a socket, whose number is limited.
            catching_up: Turns::new(config.catching_up, config.sockets),
            passwords: Turns::new(config.passwords, config.passwords * WAITING),
            sockets: Arc::default(),
            sockets_in_all: config.sockets,
            sockets_per_user: config.sockets_per_user,
        }))
    }

    /// Forgets, in the background, who has not been here for a while.
    pub fn keep(&self, lifecycle: &Lifecycle) {
        self.0.sign_in.keep(lifecycle);
        self.0.connect.keep(lifecycle);
        self.0.requests.keep(lifecycle);
    }

    /// A request of somebody who has not shown who they are.
    pub fn sign_in(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        address.map_or(Ok(()), |address| self.0.sign_in.take(&Network::of(address), 1))
    }

    /// A connection for Socket.IO.
    pub fn connect(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        address.map_or(Ok(()), |address| self.0.connect.take(&Network::of(address), 1))
    }

    /// A request of a user, or an event on one of their sockets.
    pub fn request(&self, user: UserId) -> Result<(), Refusal> {
        self.0.requests.take(&user, 1)
    }

    /// It is about so many people or chats: what it costs beyond [`request`](Self::request).
    pub fn items(&self, user: UserId, count: usize) -> Result<(), Refusal> {
        self.0.requests.take(&user, count / ITEMS_PER_REQUEST)
    }

    /// It is answered with so many bytes: what it costs beyond [`request`](Self::request). A client that asks and does not
    /// read has its answers in our memory until it is found to be gone.
    pub fn answer(&self, user: UserId, bytes: usize) -> Result<(), Refusal> {
        self.0.requests.take(&user, bytes / BYTES_PER_REQUEST)
    }

    /// Room for something of so many bytes to be worked on.
    pub fn work(&self, bytes: usize) -> Result<Work, Refusal> {
        self.0.work.begin(bytes)
    }

    /// A turn to connect, or to ask what was missed: what all clients do at once when they have been cut off together.
    pub async fn catch_up(&self) -> Result<Turn<'_>, Refusal> {
        self.0.catching_up.come().await
    }

    /// A turn to sign in or up with a password: what takes `user` so long that a crowd must not stand at its door.
    pub async fn password(&self) -> Result<Turn<'_>, Refusal> {
        self.0.passwords.come().await
    }

    /// Room for a socket of a user who has `theirs` here already.
    pub fn seat(&self, theirs: usize) -> Result<Seat, Refusal> {
        if theirs >= self.0.sockets_per_user {
            metrics::counter!("natter_limited_total", "limit" => "sockets_per_user").increment(1);
            return Err(Refusal::rate_limited(Duration::from_secs(1)));
        }
        let seat = Seat(self.0.sockets.clone());
        if self.0.sockets.fetch_add(1, Ordering::Relaxed) >= self.0.sockets_in_all {
            metrics::counter!("natter_limited_total", "limit" => "sockets").increment(1);
            return Err(Refusal::unavailable("This gateway is full; please try again."));
        }
        Ok(seat)
    }
}

#[cfg(test)]
mod tests {
    use contract::Code;
    use service::config::RateConfig;

    use super::*;

    fn limits(sockets: usize, sockets_per_user: usize) -> Limits {
        let rate = RateConfig { per_second: 1.0, burst: 5 };
        let config = LimitsConfig {
            sign_in: rate,
            connect: rate,
            requests: rate,
            work_bytes: 1 << 20,
            catching_up: 1,
            passwords: 1,
            sockets,
            sockets_per_user,
        };
        Limits::new(&config)
    }

    #[test]
    fn there_are_only_so_many_sockets() {
        let limits = limits(2, 2);
        let first = limits.seat(0).ok().unwrap();
        let _second = limits.seat(1).ok().unwrap();
        assert_eq!(limits.seat(2).err().unwrap().code, Code::RateLimited);
        assert_eq!(limits.seat(0).err().unwrap().code, Code::Unavailable);
        drop(first);
        assert!(limits.seat(0).is_ok());
    }

    #[test]
    fn dear_questions_cost_more() {
        let (limits, user) = (limits(1, 1), UserId::new());
        limits.items(user, 9).unwrap();
        limits.answer(user, 4_095).unwrap();
        limits.items(user, 49).unwrap();
        limits.request(user).unwrap();
        assert_eq!(limits.answer(user, 4_096).unwrap_err().code, Code::RateLimited);
        // More than there ever is: it takes all there is.
        limits.items(UserId::new(), 100_000).unwrap();
    }
}
