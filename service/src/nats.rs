//! The connection to NATS: never given up, its changes known to all who care.

use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, client::RequestErrorKind, jetstream};
use bytes::Bytes;
use tokio::sync::watch;

use crate::{Readiness, config::NatsConfig};

/// How long JetStream may take to acknowledge.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages a subscription may be behind before the client drops (and we hear of it as `SlowConsumer`).
const SUBSCRIPTION_CAPACITY: usize = 65_536;

/// A connection of one service; cheap to clone.
#[derive(Debug, Clone)]
pub struct Nats {
    client: Client,
    jetstream: jetstream::Context,
    replicas: usize,
    connected: watch::Receiver<u64>,
}

impl Nats {
    /// Connects in the background and for ever: servers may come, go and come back. Readiness `nats` follows.
    pub async fn connect(config: &NatsConfig, readiness: &Readiness) -> Result<Self, async_nats::ConnectError> {
        readiness.set("nats", false);
        let (count, connected) = watch::channel(0);
        let readiness = readiness.clone();
        let client = ConnectOptions::with_user_and_password(config.user.clone(), config.password.clone())
            .name(&config.user)
            .custom_inbox_prefix(format!("_INBOX_{}", config.user))
            .retry_on_initial_connect()
            .max_reconnects(None)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .reconnect_delay_callback(|attempt| match attempt {
                0 | 1 => Duration::ZERO,
                n => Duration::from_millis((50 << n.min(6)).min(1_000)),
            })
            .event_callback(move |event| {
                match &event {
                    Event::Connected => {
                        readiness.set("nats", true);
                        count.send_modify(|count| *count += 1);
                    }
                    Event::Disconnected | Event::Closed => readiness.set("nats", false),
                    Event::SlowConsumer(id) => {
                        metrics::counter!("natter_nats_slow_consumer_total").increment(1);
                        tracing::warn!(subscription = id, "a subscription is too slow; NATS messages were dropped");
                    }
                    Event::ServerError(error) => tracing::warn!(%error, "NATS server reports an error"),
                    Event::ClientError(error) => tracing::warn!(%error, "NATS client reports an error"),
                    Event::LameDuckMode | Event::Draining => {}
                }
                async {}
            })
            .connect(servers(&config.url)?)
            .await?;
        let mut jetstream = jetstream::new(client.clone());
        jetstream.set_timeout(JETSTREAM_TIMEOUT);
        Ok(Self { client, jetstream, replicas: config.replicas, connected })
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.jetstream
    }

    /// Copies of each stream and bucket.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.replicas
    }

    /// Waits until the server has taken everything sent before this, subscriptions above all: async-nats' `flush` only
    /// waits for the socket. Any answer will do, since a server works through a connection in order.
    pub async fn settle(&self) -> Result<(), async_nats::RequestError> {
        match self.client.request("$JS.API.INFO", Bytes::new()).await {
            Err(error) if error.kind() != RequestErrorKind::NoResponders => Err(error),
            _ => Ok(()),
        }
    }

    /// Counts connections made: a change means that NATS was away and what lived in its memory may be gone.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.connected.clone()
    }
}

fn servers(urls: &str) -> Result<Vec<async_nats::ServerAddr>, async_nats::ConnectError> {
    urls.split(',').map(|url| url.trim().parse().map_err(|error: std::io::Error| error.into())).collect()
}
