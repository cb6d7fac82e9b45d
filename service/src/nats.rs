//! The connection to NATS: never given up, its changes known to all who care.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectOptions, Event, client::RequestErrorKind, jetstream};
use bytes::Bytes;
use tokio::sync::watch;

use crate::{Readiness, config::NatsConfig};

/// How long JetStream may take to acknowledge.
const JETSTREAM_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages a subscription may be behind before the client drops them and we hear of it as `SlowConsumer`. They are in our
/// memory: 4 MB of usual events for one chat's room.
const SUBSCRIPTION_CAPACITY: usize = 8_192;
/// Where messages were dropped, more will be: those who look for what they missed do so no more often than this.
const LOSSES: Duration = Duration::from_millis(500);
/// Where there are copies, one that was read to see what was missed may have been behind: after this it is looked at again.
const CAUGHT_UP: Duration = Duration::from_secs(10);

/// A connection of one service; cheap to clone, which async-nats' own types are not quite.
#[derive(Debug, Clone)]
pub struct Nats(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    client: Client,
    jetstream: jetstream::Context,
    instance: String,
    replicas: usize,
    connected: watch::Receiver<u64>,
    gaps: watch::Receiver<u64>,
    losses: Arc<Losses>,
}

impl Nats {
    /// Connects in the background and for ever: servers may come, go and come back. Readiness `nats` follows.
    pub async fn connect(config: &NatsConfig, readiness: &Readiness) -> Result<Self, async_nats::ConnectError> {
        readiness.set("nats", false);
        let (count, connected) = watch::channel(0);
        let (missed, gaps) = watch::channel(0);
        let losses = Arc::new(Losses { missed, copies: config.replicas > 1, ..Losses::default() });
        let (readiness, noted) = (readiness.clone(), losses.clone());
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
                        noted.count();
                    }
                    Event::Disconnected | Event::Closed => readiness.set("nats", false),
                    Event::SlowConsumer(id) => {
                        metrics::counter!("natter_nats_slow_consumer_total").increment(1);
                        noted.note(format_args!("subscription {id} is too slow"));
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
        let instance = uuid::Uuid::now_v7().simple().to_string();
        let replicas = config.replicas;
        Ok(Self(Arc::new(Connection { client, jetstream, instance, replicas, connected, gaps, losses })))
    }

    #[must_use]
    pub fn client(&self) -> &Client {
        &self.0.client
    }

    #[must_use]
    pub fn jetstream(&self) -> &jetstream::Context {
        &self.0.jetstream
    }

    /// The name of this process among the instances of its service, a new one with each start: a token of subjects.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0.instance
    }

    /// Copies of each stream and bucket.
    #[must_use]
    pub fn replicas(&self) -> usize {
        self.0.replicas
    }

    /// Waits until the server has taken everything sent before this, subscriptions above all: async-nats' `flush` only
    /// waits for the socket. Any answer will do, since a server works through a connection in order.
    pub async fn settle(&self) -> Result<(), async_nats::RequestError> {
        match self.0.client.request("$JS.API.INFO", Bytes::new()).await {
            Err(error) if error.kind() != RequestErrorKind::NoResponders => Err(error),
            _ => Ok(()),
        }
    }

    /// Counts the times at which messages of core NATS may have passed us by: a change means that NATS was away, that a
    /// subscription of ours was so slow that messages were dropped, or what [`follow_leaders`](Self::follow_leaders) tells;
    /// where there are copies also that each of these is ten seconds ago.
    #[must_use]
    pub fn gaps(&self) -> watch::Receiver<u64> {
        self.0.gaps.clone()
    }

    /// Counts a gap, soon, and once for all that are noted meanwhile.
    pub(crate) fn note_gap(&self, why: fmt::Arguments<'_>) {
        self.0.losses.note(why);
    }

    /// Counts connections made: a change means that NATS was away and what lived in its memory may be gone.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<u64> {
        self.0.connected.clone()
    }
}

/// Messages that we did not hear.
#[derive(Debug, Default)]
struct Losses {
    missed: watch::Sender<u64>,
    /// Those who care will hear of it soon.
    told: AtomicBool,
    /// What is read may come from a copy.
    copies: bool,
}

impl Losses {
    fn note(self: &Arc<Self>, why: fmt::Arguments<'_>) {
        if self.told.swap(true, Ordering::AcqRel) {
            return;
        }
        tracing::warn!("messages of NATS may have passed us by and are looked for: {why}");
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LOSSES).await;
            // What is dropped from here on is told again.
            this.told.store(false, Ordering::Release);
            this.count();
        });
    }

    fn count(self: &Arc<Self>) {
        let next = |count: &mut u64| {
            *count += 1;
            *count
        };
        let mut number = 0;
        self.missed.send_modify(|count| number = next(count));
        if !self.copies {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(CAUGHT_UP).await;
            // Where there was another one meanwhile, that one's time has not come yet.
            this.missed.send_if_modified(|count| *count == number && next(count) > number);
        });
    }
}

fn servers(urls: &str) -> Result<Vec<async_nats::ServerAddr>, async_nats::ConnectError> {
    urls.split(',').map(|url| url.trim().parse().map_err(|error: std::io::Error| error.into())).collect()
}
