//! Web Push: browsers' subscriptions, and messages to them by way of their push services (RFC 8030), encrypted (RFC 8291)
//! and signed for (RFC 8292).

mod calls;
mod client;
mod config;
mod encrypt;
mod public;
mod send;
mod store;
mod subscription;
mod vapid;

use std::sync::Arc;

use async_nats::{HeaderMap, header::NATS_MESSAGE_ID, jetstream::context::PublishError};
use bytes::Bytes;
use contract::{
    headers,
    push::{PUSH_SUBJECT, PushJob},
};
use p256::SecretKey;
use service::{Nats, Service, Trace, mongo::Mongo};

pub(crate) use calls::serve;
pub use config::{Identity, PushConfig};
pub use vapid::VapidKey;

use client::Client;
use send::Sender;
use store::Store;
use vapid::Vapid;

/// A message could not be queued.
#[derive(Debug, thiserror::Error)]
pub enum EnqueueError {
    #[error("a push cannot be written as JSON")]
    Encode(#[from] serde_json::Error),
    #[error("a push cannot be queued")]
    Publish(#[from] PublishError),
}

/// Queues a message to all browsers of a user. Asking twice with the same `id` within ten minutes pushes once.
pub async fn enqueue(nats: &Nats, job: &PushJob, id: &str) -> Result<(), EnqueueError> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, id);
    headers.insert(headers::TRACEPARENT, Trace::current().to_string());
    let body = Bytes::from(serde_json::to_vec(job)?);
    nats.jetstream().publish_with_headers(PUSH_SUBJECT, headers, body).await?.await?;
    Ok(())
}

/// What can be made before there is a connection, so that a bad configuration is said at once.
pub(crate) struct Parts {
    config: PushConfig,
    client: Option<Arc<Client>>,
}

/// What calls work with; cheap to clone.
#[derive(Clone)]
pub(crate) struct Push {
    store: Store,
    /// `None` where there is no key.
    client: Option<Arc<Client>>,
    allow_private: bool,
}

impl Parts {
    /// The error is a sentence for the operator.
    pub(crate) fn new(config: PushConfig) -> Result<Self, String> {
        let client = match &config.identity {
            Some(Identity { key, contact }) => {
                let vapid = Vapid::new(key, contact.clone())
                    .map_err(|error| format!("NATTER_PUSH__VAPID_KEY cannot be used: {error}"))?;
                Some(Arc::new(Client::new(&config, vapid)?))
            }
            None => None,
        };
        Ok(Self { config, client })
    }

    /// Begins to push what is queued. Without a key that is dropped: it would be stale by the time there is one.
    pub(crate) fn start(self, service: &Service, mongo: Mongo) -> Push {
        let Self { config, client } = self;
        if client.is_none() {
            tracing::info!("Web Push is off: NATTER_PUSH__VAPID_KEY is not set");
        }
        let store = Store::open(service, mongo);
        let push = Push { store, client, allow_private: config.allow_private };
        let sender = Arc::new(Sender::new(service.nats().clone(), push.clone(), config.retry));
        let handle = move |delivery| sender.clone().handle(delivery);
        service.consume(send::lane(config.timeout), config.connections, handle);
        push
    }
}

/// A key pair from the operating system's randomness.
fn random_key() -> SecretKey {
    loop {
        // All but one in 2^32 numbers of this size are keys.
        if let Ok(key) = SecretKey::from_slice(&rand::random::<[u8; 32]>()) {
            return key;
        }
    }
}
