//! Where we let users send us. An endpoint is a URL that a user has chosen and that we then request from inside the
//! operator's network (server-side request forgery), so: HTTPS, the usual port, a name, and only addresses that are
//! public. The addresses are checked where they are resolved for the connection, so that a name which changes its mind
//! between check and use (DNS rebinding) changes nothing.

use std::{
    fmt,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
};

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;

/// Characters of an endpoint; those of today's push services have some hundred.
const MAX_ENDPOINT: usize = 2_000;
const HTTPS: u16 = 443;

/// A URL we may push to, as far as can be seen without resolving its name.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) uri: Uri,
    /// What a token is for (RFC 6454, section 6.2), and all of the endpoint that a log may show.
    pub(crate) origin: String,
}

impl Endpoint {
    /// `allow_private` is for tests: then any host and any port will do.
    pub(crate) fn parse(text: &str, allow_private: bool) -> Result<Self, &'static str> {
        if text.len() > MAX_ENDPOINT {
            return Err("must be at most 2000 characters");
        }
        let uri: Uri = text.parse().map_err(|_| "must be a URL")?;
        if uri.scheme_str() != Some("https") {
            return Err("must be an https URL");
        }
        let (authority, host) = uri.authority().map_or(("", ""), |authority| (authority.as_str(), authority.host()));
        if host.is_empty() || authority.contains('@') {
            return Err("must be a URL with a host and without a password");
        }
        let port = uri.port_u16().unwrap_or(HTTPS);
        if !allow_private {
            if port != HTTPS {
                return Err("must be a URL without a port");
            }
            // Push services have names; whoever gives an address, or a name of the local network, means something else. What
            // ends in a number is an address to some resolver, as `127.1` is (WHATWG URL, section 3.5).
            let (name, last) = host.trim_end_matches('.').rsplit_once('.').unwrap_or_default();
            if name.is_empty() || last.starts_with(|first: char| !first.is_ascii_alphabetic()) {
                return Err("must be a URL of a push service, with its full name");
            }
        }
        let host = host.to_ascii_lowercase();
        let origin = if port == HTTPS { format!("https://{host}") } else { format!("https://{host}:{port}") };
        Ok(Self { uri, origin })
    }
}

/// A name has an address that is not public.
#[derive(Debug, thiserror::Error)]
#[error("{0} has an address that is not public")]
pub(crate) struct NotPublic(String);

/// Resolves names to public addresses only; one that is not spoils them all.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    pub(crate) allow_private: bool,
}

impl Resolver {
    async fn resolve(self, name: String) -> io::Result<std::vec::IntoIter<SocketAddr>> {
        let addresses: Vec<_> = tokio::net::lookup_host((name.as_str(), HTTPS)).await?.collect();
        if !self.allow_private && !addresses.iter().all(|address| is_public(address.ip())) {
            return Err(io::Error::other(NotPublic(name)));
        }
        Ok(addresses.into_iter())
    }
}

impl tower::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        Box::pin(self.clone().resolve(name.as_str().to_owned()))
    }
}

/// Whether an address is one of the public internet, by IANA's registries of special-purpose addresses (RFC 6890).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

#[expect(clippy::match_same_arms, reason = "each kind has its line")]
fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // This network, private, loopback.
        [0 | 10 | 127, ..] => false,
        // Carrier-grade NAT, RFC 6598.
        [100, 64..=127, ..] => false,
        // Link-local: clouds tell secrets there.
        [169, 254, ..] => false,
        // Private.
        [172, 16..=31, ..] | [192, 168, ..] => false,
        // Protocol assignments, relays of 6to4, benchmarks.
        [192, 0, 0, _] | [192, 88, 99, _] | [198, 18 | 19, ..] => false,
        // Documentation, RFC 5737.
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        // IPv4 in IPv6's clothes: mapped (RFC 4291), and NAT64 (RFC 6052), which is how IPv6-only networks reach IPv4.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            is_public_v4(Ipv4Addr::new(a, b, c, d))
        }
        // Protocol assignments with Teredo among them, documentation, 6to4, documentation.
        [0x2001, 0..=0x01ff | 0xdb8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // Global unicast; all else is loopback, local, multicast or nobody's.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("origin", &self.origin).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_https_urls_of_named_hosts() {
        for (text, origin) in [
            ("https://fcm.googleapis.com/fcm/send/a:b", "https://fcm.googleapis.com"),
            ("https://Web.Push.Apple.com:443/x?y=z", "https://web.push.apple.com"),
        ] {
            assert_eq!(Endpoint::parse(text, false).unwrap().origin, origin);
        }
        let long = format!("https://push.example/{}", "a".repeat(MAX_ENDPOINT));
        for text in [
            "",
            "push",
            "/push",
            "http://push.example/a",
            "ftp://push.example/a",
            "https:///a",
            "https://me:secret@push.example/a",
            "https://me@push.example/a",
            "https://push.example:8443/a",
            "https://push.example:22/a",
            "https://127.0.0.1/a",
            "https://8.8.8.8/a",
            "https://[::1]/a",
            "https://[::ffff:127.0.0.1]/a",
            "https://localhost/a",
            "https://localhost./a",
            "https://mongo/a",
            "https://2130706433/a",
            "https://127.1/a",
            "https://127.0.0x1/a",
            "https://127.0.0.1./a",
            "https://push example/a",
            "https://push.example/a\r\nX: y",
            &long,
        ] {
            assert!(Endpoint::parse(text, false).is_err(), "{text}");
        }
        assert_eq!(Endpoint::parse("https://localhost:8443/a", true).unwrap().origin, "https://localhost:8443");
        assert!(Endpoint::parse("http://localhost/a", true).is_err());
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_public() {
        for address in ["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in ["2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2001:4860::8888"] {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
        for address in [
            "0.0.0.0",
            "10.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "100.64.0.1",
            "100.127.255.255",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "fec0::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2002:7f00:1::",
            "3fff::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b:1::1",
            "::127.0.0.1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
    }

    /// `127.1` and its kin are no addresses to us but are to the resolver of the operating system.
    #[tokio::test]
    async fn a_name_that_resolves_to_an_address_of_ours_is_not_resolved() {
        for name in ["localhost", "127.1", "0x7f.1", "2130706433", "127.0.0.1", "0"] {
            let strict = Resolver { allow_private: false }.resolve(name.to_owned()).await;
            let error = strict.unwrap_err();
            assert!(error.get_ref().and_then(|error| error.downcast_ref::<NotPublic>()).is_some(), "{name}");
            let mut all = Resolver { allow_private: true }.resolve(name.to_owned()).await.unwrap();
            assert!(all.next().is_some(), "{name}");
        }
    }
}
