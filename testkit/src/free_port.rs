//! Ports for servers that cannot report which one they were given.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::Result;

/// Below the ports that Linux gives to outgoing connections (`ip_local_port_range`), of which a test has thousands: one of
/// those could take a port between its choice and its use.
const RANGE: std::ops::Range<u16> = 10_240..32_768;
const TRIES: usize = 100;

/// A TCP port on loopback that nobody listens on now. No port is answered twice: who has one may not listen on it yet.
pub fn any() -> Result<u16> {
    // Another process begins elsewhere.
    static NEXT: LazyLock<AtomicUsize> = LazyLock::new(|| AtomicUsize::new(rand::random_range(0..RANGE.len())));
    let next = |_| {
        let place = NEXT.fetch_add(1, Ordering::Relaxed) % RANGE.len();
        RANGE.start + u16::try_from(place).unwrap_or(0)
    };
    match (0..TRIES).map(next).find(|port| is_free(*port)) {
        Some(port) => Ok(port),
        None => Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()),
    }
}

/// Whether nobody listens on this port of loopback.
pub fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// `preferred` if it is free, else any other.
pub fn prefer(preferred: u16) -> Result<u16> {
    if is_free(preferred) { Ok(preferred) } else { any() }
}

/// A port of loopback as an address.
pub fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, thread};

    use super::*;

    #[test]
    fn nobody_is_given_the_port_of_another_who_does_not_listen_yet() {
        let takers = || thread::spawn(|| (0..200).map(|_| any().unwrap()).collect::<Vec<_>>());
        let takers: Vec<_> = (0..8).map(|_| takers()).collect();
        let ports: Vec<u16> = takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect();
        assert!(ports.iter().all(|port| RANGE.contains(port)));
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
    }
}
