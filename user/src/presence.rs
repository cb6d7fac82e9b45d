//! From what gateways say, leases and sessions, to what others see of a person: the bucket `PRESENCE`, which republishes
//! each `view.<userId>` that changes. When somebody came or went outlives it in the bucket `LAST_SEEN`.

mod last_seen;
mod reading;
mod recompute;
mod sweep;

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use contract::{
    UserId,
    presence::Seen,
    storage::{PRESENCE_BUCKET, PRESENCE_CONSUMER, PresenceKey},
};
use service::{Delivery, Durable, KvError, Nats, Outcome, Service, chain};

use reading::Reading;

pub use last_seen::last_seen;

/// The stream under the bucket.
const STREAM: &str = "KV_PRESENCE";
/// What gateways write. Views are this service's own.
const SESSIONS: &str = "$KV.PRESENCE.user.>";
const LEASES: &str = "$KV.PRESENCE.gateway.*";
/// Changes worked on at a time by one instance, and by all.
const AT_ONCE: usize = 64;
const AT_ONCE_BY_ALL: usize = 1_024;
/// A change whose instance died is another's after this.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// After a (re)connection NATS may not have the bucket yet.
const RECONCILE_AGAIN: Duration = Duration::from_millis(250);

/// Follows the gateways for as long as the service lives.
pub fn start(service: &Service) {
    let durable = Durable {
        name: PRESENCE_CONSUMER,
        streams: &[STREAM],
        filter: vec![SESSIONS.to_owned(), LEASES.to_owned()],
        ack_wait: ACK_WAIT,
        max_ack_pending: AT_ONCE_BY_ALL,
        one_at_a_time: false,
    };
    let nats = service.nats().clone();
    service.consume(durable, AT_ONCE, move |delivery| {
        let nats = nats.clone();
        async move {
            let outcome = follow(&nats, &delivery).await.unwrap_or_else(|error| {
                tracing::warn!(key = %delivery.message.subject, error = chain(&error), "presence is late; trying again");
                Outcome::Retry(AGAIN)
            });
            (delivery, outcome)
        }
    });

    // What the consumer cannot tell: a gateway that went while no instance was there to hear of it.
    let (nats, soft) = (service.nats().clone(), service.lifecycle().soft().clone());
    service.lifecycle().keep("reconcile-presence", async move {
        tokio::select! { () = soft.cancelled() => {}, () = keep_reconciled(&nats) => {} }
    });
}

async fn follow(nats: &Nats, delivery: &Delivery) -> Result<Outcome, KvError> {
    Ok(match PresenceKey::parse(&delivery.message.subject) {
        Some(PresenceKey::Session(user, _)) => {
            recompute::recompute(nats, user, delivery.sequence).await?;
            Outcome::Done
        }
        // Looked at again until nothing is left of it.
        Some(PresenceKey::Lease(gateway)) if delivery.is_removal() => {
            match sweep::remove_sessions(nats, gateway, delivery.sequence).await? {
                0 => Outcome::Done,
                _ => Outcome::Retry(AGAIN),
            }
        }
        // A lease was renewed.
        Some(PresenceKey::Lease(_) | PresenceKey::View(_)) => Outcome::Done,
        None => {
            tracing::warn!(key = %delivery.message.subject, "no key of presence");
            Outcome::Discard
        }
    })
}

/// Now, and again whenever NATS was away.
async fn keep_reconciled(nats: &Nats) {
    let mut connections = nats.connections();
    loop {
        connections.borrow_and_update();
        match sweep::reconcile(nats).await {
            Ok(()) => {
                let _ = connections.changed().await;
            }
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot reconcile presence; trying again");
                tokio::time::sleep(RECONCILE_AGAIN).await;
            }
        }
    }
}

/// What others see of those users who are there, or went a moment ago.
pub async fn views(nats: &Nats, users: &BTreeSet<UserId>) -> Result<HashMap<UserId, Seen>, KvError> {
    let keys: Vec<String> = users.iter().map(|user| PresenceKey::View(*user).to_string()).collect();
    Ok(Reading::of(&service::last_values(nats, PRESENCE_BUCKET, &keys).await?).into_views())
}
