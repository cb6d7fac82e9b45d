//! The lane of pushes on the `MAIL` work queue: to all browsers of a user, and again to those that have not got it.

use std::{sync::Arc, time::Duration};

use contract::{
    Time,
    push::{MAX_PUSH_PAYLOAD, OnlyOne, PUSH_SUBJECT, PushJob},
    storage,
};
use futures::future::join_all;
use service::{Delivery, Durable, Nats, Outcome, Trace, chain};

use super::{
    Push,
    client::{Answer, Client},
    enqueue,
    store::Stored,
    subscription::Target,
};
use crate::RetryConfig;

/// Jobs that wait for their next attempt count as pending. So many may before the lane takes no new ones.
const MAX_PENDING: usize = 20_000;
/// MongoDB answers within this, or not at all.
const DATABASE: Duration = Duration::from_secs(10);

pub(super) fn lane(timeout: Duration) -> Durable {
    Durable {
        name: storage::PUSH_CONSUMER,
        streams: &[storage::MAIL_STREAM],
        filter: vec![PUSH_SUBJECT.to_owned()],
        // A job waits at most one attempt for its turn, then takes one; a user's browsers are pushed to all at once.
        ack_wait: (timeout + DATABASE).saturating_mul(2),
        max_ack_pending: MAX_PENDING,
        one_at_a_time: false,
    }
}

/// What pushes the jobs of the queue.
pub(super) struct Sender {
    nats: Nats,
    push: Push,
    retry: RetryConfig,
}

/// A subscription that has not got it.
struct Missed {
    id: String,
    /// When to try again; `None` where that makes no sense any more.
    after: Option<Duration>,
}

impl Sender {
    pub(super) fn new(nats: Nats, push: Push, retry: RetryConfig) -> Self {
        Self { nats, push, retry }
    }

    /// Pushes to all of a user's browsers and says what is to become of the job on the queue.
    pub(super) async fn handle(self: Arc<Self>, delivery: Delivery) -> (Delivery, Outcome) {
        let outcome = match serde_json::from_slice::<PushJob>(&delivery.message.payload) {
            Ok(job) => self.work(&delivery, job).await,
            Err(error) => {
                tracing::error!(error = chain(&error), sequence = delivery.sequence, "not a push; it is dropped");
                count("malformed");
                Outcome::Discard
            }
        };
        (delivery, outcome)
    }

    async fn work(&self, delivery: &Delivery, job: PushJob) -> Outcome {
        let Some(client) = &self.push.client else {
            count("off");
            return Outcome::Done;
        };
        let now = Time::now();
        if job.expires_at <= now {
            count("expired");
            return Outcome::Done;
        }
        if let Some(only) = job.only.as_ref().filter(|only| only.not_before > now) {
            return Outcome::Retry(only.not_before.since(now));
        }
        let bytes = job.payload.get().len();
        if bytes > MAX_PUSH_PAYLOAD {
            tracing::error!(bytes, "a push is longer than {MAX_PUSH_PAYLOAD} bytes; it is dropped");
            count("too_large");
            return Outcome::Discard;
        }
        // A later one has been told meanwhile, whose place this one would take; or its reader has seen it.
        if delivery.attempt > 1 || job.only.is_some() {
            let over = async { Some(self.push.store.is_over(job.about?).await) }.await;
            match over.unwrap_or(Ok(false)) {
                Ok(true) => {
                    count("over");
                    return Outcome::Done;
                }
                Ok(false) => {}
                Err(_) => return self.after(&job, delivery.attempt, None).map_or(Outcome::Done, Outcome::Retry),
            }
        }
        let only = job.only.as_ref().map(|only| only.subscription.as_str());
        let Ok(subscriptions) = self.push.store.of(job.user_id, only).await else {
            return self.after(&job, delivery.attempt, None).map_or(Outcome::Done, Outcome::Retry);
        };
        let attempts = subscriptions.iter().map(|stored| self.one(client, &job, stored, delivery.attempt));
        let missed: Vec<_> = join_all(attempts).await.into_iter().flatten().collect();
        self.again(delivery, &job, subscriptions.len(), missed).await
    }

    /// One subscription; answers what there is to do again.
    async fn one(&self, client: &Client, job: &PushJob, stored: &Stored, attempt: u64) -> Option<Missed> {
        let answer = match Target::check(&stored.subscription, self.push.allow_private) {
            Ok(target) => (client.push(&target, job).await, target.endpoint.origin),
            // From a time when it was allowed, or written by somebody else.
            Err(refusal) => (Answer::Blocked(refusal.message), "?".to_owned()),
        };
        let ((answer, to), id, trace_id) = (answer, &stored.id, Trace::current().id());
        let outcome = match &answer {
            Answer::Taken => {
                tracing::debug!(id, to, attempt, trace_id, "pushed");
                "sent"
            }
            Answer::Gone => {
                tracing::info!(id, to, "a push subscription has ended");
                "gone"
            }
            Answer::TooLarge => {
                tracing::error!(id, to, trace_id, "a push is too long for its push service; it is dropped");
                "too_large"
            }
            Answer::Blocked(why) => {
                tracing::warn!(id, to, why, "a push subscription leads where we do not go; nothing is pushed there");
                "blocked"
            }
            Answer::Refused(why) => {
                tracing::error!(
                    id,
                    to,
                    why,
                    trace_id,
                    "a push service refuses what we send; the push is dropped. Look at NATTER_PUSH__*"
                );
                "refused"
            }
            Answer::Later(why, wait) => {
                let after = self.after(job, attempt, *wait);
                let outcome = if after.is_some() { "retried" } else { "given_up" };
                tracing::warn!(id, to, attempt, ?after, why, trace_id, "cannot push now ({outcome})");
                count(outcome);
                return Some(Missed { id: id.clone(), after });
            }
        };
        count(outcome);
        // What the database did not hear it will hear next time; the refusal is logged.
        let _ = match answer {
            Answer::Taken => self.push.store.used(stored).await,
            Answer::Gone => self.push.store.forget(job.user_id, id).await,
            _ => Ok(()),
        };
        None
    }

    /// How long until the next attempt; `None` where the message will have expired, or that was the last.
    fn after(&self, job: &PushJob, attempt: u64, wait: Option<Duration>) -> Option<Duration> {
        let after = self.retry.after(attempt)?.max(wait.unwrap_or_default());
        (Time::now().plus(after) < job.expires_at).then_some(after)
    }

    /// Where one of several subscriptions has not got it, that one goes on alone, as a job of its own: the others must not
    /// get it twice, whoever works the queue then.
    async fn again(&self, delivery: &Delivery, job: &PushJob, of: usize, missed: Vec<Missed>) -> Outcome {
        let missed = missed.into_iter().filter_map(|Missed { id, after }| Some((id, after?)));
        for (subscription, after) in missed {
            if of == 1 {
                return Outcome::Retry(after);
            }
            // The same at every delivery of this job, so that it is queued once.
            let id = format!("push.{}.{subscription}", delivery.sequence);
            let only = OnlyOne { subscription, not_before: Time::now().plus(after) };
            let job = PushJob { only: Some(only), ..job.clone() };
            if let Err(error) = enqueue(&self.nats, &job, &id).await {
                tracing::warn!(error = chain(&error), "cannot queue a push again; all of it is tried again");
                return Outcome::Retry(after);
            }
        }
        Outcome::Done
    }
}

fn count(outcome: &'static str) {
    metrics::counter!("natter_push_total", "outcome" => outcome).increment(1);
}
