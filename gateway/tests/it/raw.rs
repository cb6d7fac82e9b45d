//! Clients that speak Engine.IO by hand, to do what no proper client does.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::world::SOON;

/// Separates packets.
const RECORD: char = '\u{1e}';

pub struct Raw {
    http: reqwest::Client,
    url: String,
}

impl Raw {
    /// Opens the transport without connecting to the namespace.
    pub async fn open(url: &str) -> Self {
        let http = reqwest::Client::builder().timeout(SOON).build().unwrap();
        let url = format!("{url}/socket.io/?EIO=4&transport=polling");
        let open = http.get(&url).send().await.unwrap().text().await.unwrap();
        let handshake: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        Self { http, url: format!("{url}&sid={}", handshake["sid"].as_str().unwrap()) }
    }

    pub async fn connect(url: &str, token: &str) -> Self {
        let raw = Self::open(url).await;
        raw.write(&[&format!("40{}", json!({ "token": token }))]).await;
        while !raw.read().await.iter().any(|packet| packet.starts_with("40")) {}
        raw
    }

    /// Sends packets; answers the status.
    pub async fn write(&self, packets: &[&str]) -> u16 {
        let body = packets.join(&RECORD.to_string());
        self.http.post(&self.url).body(body).send().await.unwrap().status().as_u16()
    }

    /// How a request for packets ends.
    pub async fn status(&self) -> u16 {
        self.http.get(&self.url).send().await.unwrap().status().as_u16()
    }

    /// Packets that have come, or that come next.
    pub async fn read(&self) -> Vec<String> {
        let answer = self.http.get(&self.url).send().await.unwrap();
        let body = answer.error_for_status().unwrap().text().await.unwrap();
        body.split(RECORD).map(str::to_owned).collect()
    }
}

/// A client that connects over WebSocket and then reads nothing.
pub struct Stalled {
    tcp: std::net::TcpStream,
}

impl Stalled {
    pub async fn connect(url: &str, token: &str) -> Self {
        let (addr, token) = (url.strip_prefix("http://").unwrap().to_owned(), token.to_owned());
        let connect = move || {
            let mut tcp = std::net::TcpStream::connect(addr).unwrap();
            tcp.set_read_timeout(Some(SOON)).unwrap();
            let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n\
                        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
            tcp.write_all(head.as_bytes()).unwrap();
            read_until(&mut tcp, "maxPayload");
            tcp.write_all(&frame(&format!("40{}", json!({ "token": token })))).unwrap();
            read_until(&mut tcp, "40{");
            tcp
        };
        Self { tcp: tokio::task::spawn_blocking(connect).await.unwrap() }
    }

    /// What is left to be read.
    pub async fn read_to_the_end(&mut self) -> String {
        let mut tcp = self.tcp.try_clone().unwrap();
        let read = move || {
            let mut all = Vec::new();
            // A reset is an end as well.
            let _ = tcp.read_to_end(&mut all);
            String::from_utf8_lossy(&all).into_owned()
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }
}

fn read_until(tcp: &mut std::net::TcpStream, text: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let mut bytes = [0; 1024];
        let count = tcp.read(&mut bytes).unwrap();
        assert!(count > 0, "closed before {text}");
        read.extend_from_slice(&bytes[..count]);
    }
}

/// A text frame of a client, masked with zeros (RFC 6455, section 5.2).
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 0xfe], &length[..], &[0; 4], text.as_bytes()].concat()
}
