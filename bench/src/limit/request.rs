//! The limit of a call: bare NATS request and reply.

use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use futures::StreamExt;
use testkit::until;

use super::{READY, SECONDS, WARM_UP, nats::Nats};
use crate::{
    closed::{self, Rate},
    latency::Window,
    target::System,
};

const SUBJECT: &str = "call.chat.bench";
/// Bytes of a request and of its reply, about those of a message.
const BYTES: usize = 400;

/// Asks with so many requests under way at a time, over one connection, somebody on another one who answers at once.
pub async fn run(system: &System, in_flight: usize) -> Result<Rate> {
    let nats = Nats::like(system).await?;
    let (asks, answers) = (nats.connect("gateway").await?, nats.connect("chat").await?);
    let mut requests = answers.subscribe(SUBJECT).await?;
    let answering = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                answers.publish(reply, request.payload).await?;
            }
        }
        anyhow::Ok(())
    });
    let payload = Bytes::from(vec![b'x'; BYTES]);
    // The server takes a subscription a moment after it was sent.
    until("somebody to answer", READY, async || asks.request(SUBJECT, payload.clone()).await.ok()).await?;
    let rate = closed::run(in_flight, Window::after(Instant::now(), WARM_UP, SECONDS), move |_| {
        let (asks, payload) = (asks.clone(), payload.clone());
        async move {
            asks.request(SUBJECT, payload).await?;
            Ok(Ok(()))
        }
    });
    let rate = rate.await?.measured();
    answering.abort();
    rate
}
