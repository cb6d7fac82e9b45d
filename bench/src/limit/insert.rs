//! The limit of the archive: bare bulk inserts into MongoDB.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::Result;
use mongodb::{
    Client,
    bson::{Document, doc},
};
use testkit::{free_port, mongo, process::Output};

use super::{SECONDS, WARM_UP};
use crate::{
    closed::{self, Rate},
    latency::Window,
    target::System,
};

/// Documents of one insert: as many as the archive takes at a time.
pub const BULK: u32 = 500;

/// Inserts one bulk after the other into a MongoDB of its own, of the kind that `cargo dev` starts. What is counted is
/// bulks.
pub async fn run(system: &System, text: u16) -> Result<Rate> {
    let folder = system.scratch()?;
    let options = mongo::Options { data: folder.path().join("data"), port: free_port::any()? };
    let server = mongo::Server::start(&options, Output::File(folder.path().join("log"))).await?;
    let messages = Client::with_uri_str(&server.uri).await?.database("bench").collection::<Document>("messages");
    let (text, number) = ("x".repeat(text.into()), Arc::new(AtomicU64::new(0)));
    let rate = closed::run(1, Window::after(Instant::now(), WARM_UP, SECONDS), move |_| {
        let first = number.fetch_add(BULK.into(), Ordering::Relaxed);
        let bulk: Vec<_> = (first..first + u64::from(BULK)).map(|seq| message(seq, &text)).collect();
        let messages = messages.clone();
        async move {
            messages.insert_many(bulk).await?;
            Ok(Ok(()))
        }
    });
    rate.await?.measured()
}

fn message(seq: u64, text: &str) -> Document {
    let id = format!("01900000-0000-7000-8000-000000000000.{seq}");
    let seq = i64::try_from(seq).unwrap_or_default();
    doc! {
        "_id": id, "chatId": "01900000-0000-7000-8000-000000000000", "seq": seq, "kind": "user",
        "senderId": "01900000-0000-7000-8000-000000000001", "clientId": seq.to_string(), "text": text,
        "replyTo": null, "attachments": [], "mentions": [], "reactions": {},
    }
}
