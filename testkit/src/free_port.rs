//! Ports for servers that cannot report which one they were given.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Result;

/// Below the ports that Linux gives to outgoing connections (`ip_local_port_range`), of which a test has thousands: one of
/// those could take a port between its choice and its use.
const RANGE: std::ops::Range<u16> = 10_240..32_768;
const TRIES: usize = 100;

/// A TCP port on loopback that nobody listens on now, chosen by chance.
pub fn any() -> Result<u16> {
    let chosen = (0..TRIES).map(|_| rand::random_range(RANGE)).find(|port| is_free(*port));
    match chosen {
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
