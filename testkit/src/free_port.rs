//! Ports for servers that cannot report which one they were given.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Result;

/// A TCP port on loopback that nobody listens on now.
///
/// Another process may take it before it is used, but the system does not hand the same one out again soon.
pub fn any() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
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
