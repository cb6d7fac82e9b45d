//! Notifications: made from the log, read by what was seen, told to devices, browsers and, later, by letter.

mod announce;
mod batch;
pub mod calls;
mod counted;
mod digest;
mod merge;
mod plan;
mod quiet;
mod store;
mod tell;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use contract::{
    ChatId, Refusal, Time, UserId,
    chat::ReceiptEntry,
    event::Seq,
    mail::{ANNOUNCE_SUBJECT, DIGEST_SUBJECT},
    notification::{NotificationEvent, NotificationType},
    storage::{
        ANNOUNCE_CONSUMER, CHAT_STREAMS, DIGEST_CONSUMER, MAIL_STREAM, NOTIFY_CONSUMER, NOTIFY_READ_CONSUMER,
        chat_user_of,
    },
};
use service::{Batches, Caller, Delivery, Durable, Nats, Outcome, Service, chain, mongo::Mongo};

use crate::{DigestConfig, LinksConfig, push::EnqueueError};
use merge::{Merged, merge};
use store::{Store, Stored};

pub use store::is_over;

/// Events of one batch, and how long the first one waits for others: who is there has the message itself by then. Where
/// there is much to tell it is told a little later, and much of it together: a chat's unread messages are one notification,
/// which is written once for all that came meanwhile. One instance at a time has the batches of a stream, so that nobody tells
/// of a chat beside another who is about to.
const BATCHES: Batches = Batches { size: 8_192, linger: Duration::from_millis(100), rest: Duration::from_secs(5) };
/// Longer than a batch takes; what one who died had in hand another gets after this.
const ACK_WAIT: Duration = Duration::from_secs(15);
/// What failed is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// How often what somebody else has changed meanwhile is tried, before it is left for later.
const ATTEMPTS: usize = 4;
/// The stream under the bucket `READS`.
const READS: &str = "KV_READS";

/// What tells people.
pub struct Notify {
    nats: Nats,
    caller: Caller,
    store: Store,
    links: LinksConfig,
    digest: DigestConfig,
}

/// Something did not work for now.
#[derive(Debug, thiserror::Error)]
enum NotNow {
    #[error("MongoDB")]
    Mongo(#[from] mongodb::error::Error),
    #[error("a call: {0}")]
    Refused(#[from] Refusal),
    #[error("the queue")]
    Queue(#[from] async_nats::jetstream::context::PublishError),
    #[error(transparent)]
    Push(#[from] EnqueueError),
    #[error("cannot be written")]
    Encode(#[from] serde_json::Error),
    #[error("somebody else changed it meanwhile")]
    Raced,
}

impl Notify {
    pub fn start(service: &Service, mongo: Mongo, links: LinksConfig, digest: DigestConfig) -> Arc<Self> {
        let (nats, caller) = (service.nats().clone(), service.caller());
        mongo.ensure(service.lifecycle(), async |database| store::ensure_indexes(&database).await);
        let this = Arc::new(Self { nats, caller, store: Store::new(mongo), links, digest });
        let batches = |name, streams| Durable {
            name,
            streams,
            filter: Vec::new(),
            ack_wait: ACK_WAIT,
            max_ack_pending: BATCHES.size,
            one_at_a_time: false,
        };
        let log = this.clone();
        let events = Durable { one_at_a_time: true, ..batches(NOTIFY_CONSUMER, &CHAT_STREAMS) };
        service.consume_batches(events, BATCHES, move |batch| {
            let this = log.clone();
            async move { this.take(batch).await }
        });
        let reads = this.clone();
        service.consume_batches(batches(NOTIFY_READ_CONSUMER, &[READS]), BATCHES, move |batch| {
            let this = reads.clone();
            async move { this.take_reads(batch).await }
        });
        let lane = |name, subject: &str, max_ack_pending| Durable {
            name,
            streams: &[MAIL_STREAM],
            filter: vec![subject.to_owned()],
            ack_wait: ACK_WAIT,
            max_ack_pending,
            one_at_a_time: false,
        };
        let digests = this.clone();
        service.consume(lane(DIGEST_CONSUMER, DIGEST_SUBJECT, 1_000), 8, move |delivery| {
            let this = digests.clone();
            async move { this.write_digest(delivery).await }
        });
        // A step of one announcement follows the other.
        let announcements = this.clone();
        service.consume(lane(ANNOUNCE_CONSUMER, ANNOUNCE_SUBJECT, 1), 1, move |delivery| {
            let this = announcements.clone();
            async move { this.announce_step(delivery).await }
        });
        this
    }

    /// Takes a batch of receipts: reading a chat reads its notifications.
    async fn take_reads(&self, batch: Vec<Delivery>) -> Vec<(Delivery, Outcome)> {
        let mut seen: BTreeMap<(ChatId, UserId), Seq> = BTreeMap::new();
        for delivery in &batch {
            let key = chat_user_of(&delivery.message.subject);
            let entry = serde_json::from_slice::<ReceiptEntry>(&delivery.message.payload);
            // Also where the last change was a delivery: a bucket tells only of the last one.
            if let (Some(key), Ok(entry)) = (key, entry)
                && entry.seen > 0
            {
                seen.insert(key, entry.seen);
            }
        }
        let outcome = match self.read_seen(&seen, true).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot read notifications; trying again");
                Outcome::Retry(AGAIN)
            }
        };
        batch.into_iter().map(|delivery| (delivery, outcome)).collect()
    }

    /// Reads what these users have seen, and makes one of two of the same chat; `added`: also that they were added, since
    /// they have looked into the chat.
    async fn read_seen(&self, seen: &BTreeMap<(ChatId, UserId), Seq>, added: bool) -> Result<(), NotNow> {
        if seen.is_empty() {
            return Ok(());
        }
        unless_raced(|| self.try_read_seen(seen, added)).await
    }

    async fn try_read_seen(&self, seen: &BTreeMap<(ChatId, UserId), Seq>, added: bool) -> Result<(), NotNow> {
        let users: Vec<UserId> = seen.keys().map(|(_, user)| *user).collect::<HashSet<_>>().into_iter().collect();
        let chats: Vec<ChatId> = seen.keys().map(|(chat, _)| *chat).collect::<HashSet<_>>().into_iter().collect();
        let unread = self.store.unread_in(&users, &chats).await?;
        let seen_by = |one: &Stored| one.chat_id.and_then(|chat| seen.get(&(chat, one.user_id))).copied();
        let (mut over, mut unseen) = (Vec::new(), Vec::new());
        for one in unread {
            let Some(seen) = seen_by(&one) else { continue };
            if one.kind == NotificationType::Added {
                over.extend(Some(one).filter(|_| added));
            } else if one.seq <= Some(seen) {
                over.push(one);
            } else {
                unseen.push(one);
            }
        }
        let Merged { kept, mut doubles } = merge(unseen, Time::now());
        let mut changed = Vec::new();
        for (mut one, grown) in kept {
            // Some of what it is about.
            let read = one.counted.remove_to(seen_by(&one).unwrap_or(0));
            one.count = one.count.saturating_sub(read);
            changed.extend(Some(one).filter(|_| grown || read > 0));
        }
        let mut raced = self.change(&changed).await?;
        doubles.retain(|one| one.chat_id.is_none_or(|chat| !raced.contains(&chat)));
        raced.extend(self.change(&doubles).await?);
        self.read(over).await?;
        if raced.is_empty() { Ok(()) } else { Err(NotNow::Raced) }
    }

    /// Writes what has changed and tells its users' devices; answers the chats in which somebody else was there before.
    async fn change(&self, changed: &[Stored]) -> Result<HashSet<ChatId>, NotNow> {
        let raced = self.store.change(changed).await?;
        for one in changed.iter().filter(|one| one.chat_id.is_none_or(|chat| !raced.contains(&chat))) {
            self.say(one, NotificationEvent::Updated).await;
        }
        Ok(raced)
    }

    /// Reads notifications, tells their users' devices, and cancels the letters of those who have read everything.
    /// [`NotNow::Raced`] where there is something new to some of them.
    async fn read(&self, over: Vec<Stored>) -> Result<(), NotNow> {
        let now = Time::now();
        let raced = self.store.read(&over, now).await?;
        let mut users = HashSet::new();
        for mut one in over.into_iter().filter(|one| !raced.contains(&one.id)) {
            one.read_at = Some(now);
            users.insert(one.user_id);
            self.say(&one, NotificationEvent::Updated).await;
        }
        for user in users {
            self.cancel_digest_if_all_read(user).await;
        }
        if raced.is_empty() { Ok(()) } else { Err(NotNow::Raced) }
    }
}

/// Tries anew, from what is there now, while somebody else gets ahead.
async fn unless_raced<F>(attempt: impl Fn() -> F) -> Result<(), NotNow>
where
    F: Future<Output = Result<(), NotNow>>,
{
    for _ in 1..ATTEMPTS {
        match attempt().await {
            Err(NotNow::Raced) => {}
            outcome => return outcome,
        }
    }
    attempt().await
}
