//! A gateway as `user` knows it: its account, the keys it writes and the events it hears.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream;
use contract::{
    GatewayId, Time, UserId,
    presence::{Availability, Lease, Presence, PresenceStatus, Session},
    room,
    storage::{PRESENCE_BUCKET, PRESENCE_CONSUMER, PresenceKey},
};
use futures::StreamExt;
use serde_json::json;
use service::{Readiness, config::NatsConfig};
use testkit::{Nats, eventually};

use crate::world::{SOON, World};

/// What a gateway writes.
pub struct Gateway {
    pub id: GatewayId,
    pub nats: service::Nats,
}

impl Gateway {
    pub async fn start(nats: &Nats, lease: Duration) -> Self {
        let config =
            json!({ "url": nats.url(), "user": "gateway", "password": nats.password("gateway"), "replicas": 1 });
        let config: NatsConfig = serde_json::from_value(config).unwrap();
        let nats = service::Nats::connect(&config, &Readiness::default()).await.unwrap();
        let gateway = Self { id: GatewayId::new(), nats };
        gateway.renew(lease).await;
        gateway
    }

    pub async fn renew(&self, lease: Duration) {
        let value = serde_json::to_vec(&Lease { since: Time::now() }).unwrap();
        let key = PresenceKey::Lease(self.id).to_string();
        self.nats.put(PRESENCE_BUCKET, &key, value.into(), Some(lease)).await.unwrap();
    }

    pub async fn put(&self, user: UserId, status: Availability) {
        let value = serde_json::to_vec(&Session { status }).unwrap();
        self.nats.put(PRESENCE_BUCKET, &self.session(user), value.into(), None).await.unwrap();
    }

    pub async fn remove(&self, user: UserId) {
        self.nats.delete(PRESENCE_BUCKET, &self.session(user)).await.unwrap();
    }

    pub fn session(&self, user: UserId) -> String {
        PresenceKey::Session(user, self.id).to_string()
    }

    pub async fn is_there(&self, key: &str) -> bool {
        !service::last_values(&self.nats, PRESENCE_BUCKET, &[key.to_owned()]).await.unwrap().is_empty()
    }

    /// Waits until the lease is over; then until the server has forgotten that there was one.
    pub async fn vanish_without_a_trace(&self) {
        let key = PresenceKey::Lease(self.id).to_string();
        eventually("the lease expires", SOON, async || (!self.is_there(&key).await).then_some(())).await;
        // A purge takes all that was there with it and, once expired, leaves no marker.
        let purge = jetstream::message::PublishMessage::build()
            .header("KV-Operation", "PURGE")
            .header("Nats-Rollup", "sub")
            .ttl(Duration::from_secs(1));
        let subject = format!("$KV.{PRESENCE_BUCKET}.{key}");
        self.nats.jetstream().send_publish(subject, purge).await.unwrap().await.unwrap();
        eventually("the server forgets", SOON, async || {
            let last = service::last_revisions(&self.nats, PRESENCE_BUCKET, std::slice::from_ref(&key), 0).await;
            last.unwrap().is_empty().then_some(())
        })
        .await;
    }
}

/// What is published about people.
#[derive(Clone, Default)]
pub struct Events(Arc<Mutex<Vec<Presence>>>);

impl Events {
    pub async fn of(nats: &Nats) -> Self {
        let client = nats.connect("gateway").await;
        let mut published = client.subscribe(room::PRESENCE).await.unwrap();
        // Flushed to the server, not only to the socket.
        client.request("$JS.API.INFO", "".into()).await.unwrap();
        let events = Self::default();
        let all = events.clone();
        tokio::spawn(async move {
            while let Some(message) = published.next().await {
                // A view that expires after its user has gone is no news.
                if !message.payload.is_empty() {
                    let presence: Presence = serde_json::from_slice(&message.payload).unwrap();
                    assert_eq!(room::parse_presence(&message.subject), Some(presence.user_id));
                    all.0.lock().unwrap().push(presence);
                }
            }
            drop(client);
        });
        events
    }

    pub fn about(&self, user: UserId) -> Vec<PresenceStatus> {
        self.0.lock().unwrap().iter().filter(|event| event.user_id == user).map(|event| event.status).collect()
    }

    pub async fn end_with(&self, user: UserId, expected: &[PresenceStatus]) {
        eventually(&format!("{expected:?}"), SOON, async || (self.about(user) == expected).then_some(())).await;
    }
}

/// Waits until all that gateways have said has been worked on.
pub async fn settled(world: &World, gateway: &Gateway) {
    let user = jetstream::new(world.nats.connect("user").await);
    eventually("all is worked on", SOON, async || {
        let keys = ["user.*.*".to_owned(), "gateway.*".to_owned()];
        let said = service::last_revisions(&gateway.nats, PRESENCE_BUCKET, &keys, 0).await.ok()?;
        let last = said.iter().map(|key| key.sequence).max()?;
        let stream = user.get_stream_no_info(format!("KV_{PRESENCE_BUCKET}")).await.ok()?;
        let info = stream.consumer_info(PRESENCE_CONSUMER).await.ok()?;
        (info.delivered.stream_sequence >= last && info.num_ack_pending == 0).then_some(())
    })
    .await;
}
