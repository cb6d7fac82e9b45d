//! A client that speaks Engine.IO over long-polling by hand, to do what no proper client does.

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

    /// Packets that have come, or that come next.
    pub async fn read(&self) -> Vec<String> {
        let answer = self.http.get(&self.url).send().await.unwrap();
        let body = answer.error_for_status().unwrap().text().await.unwrap();
        body.split(RECORD).map(str::to_owned).collect()
    }
}
