//! The `MAIL` work queue: its streams, its lanes, and what becomes of a letter.

use std::{sync::Arc, time::Duration};

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::stream::{self, RetentionPolicy, StorageType},
};
use contract::{
    Time, headers,
    mail::{Letter, NOTICE_SUBJECT, OTP_SUBJECT},
    storage,
};
use lettre::message::Mailbox;
use service::{Delivery, Durable, Nats, Outcome, Trace, chain};

use crate::{
    RetryConfig,
    letter::{self, RenderError},
    transport::{SendError, Transport},
};

/// A letter that is asked for twice within this is sent once.
const DUPLICATES: Duration = Duration::from_mins(10);
/// So long dead letters can be looked at.
const DEAD_FOR: Duration = Duration::from_hours(30 * 24);
/// Letters that wait for their next attempt count as pending. So many may before the lane takes no new ones.
const MAX_PENDING: usize = 20_000;

/// Makes the streams be there.
pub(crate) async fn ensure_streams(nats: Nats) -> Result<(), async_nats::Error> {
    let queue = stream::Config {
        name: storage::MAIL_STREAM.to_owned(),
        description: Some("Letters to be sent".to_owned()),
        subjects: storage::MAIL_SUBJECTS.map(str::to_owned).to_vec(),
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        duplicate_window: DUPLICATES,
        // Digests are scheduled by the server (ADR-51); reading cancels them.
        allow_message_schedules: true,
        num_replicas: nats.replicas(),
        ..Default::default()
    };
    let dead = stream::Config {
        name: storage::MAIL_DEAD_STREAM.to_owned(),
        description: Some("Letters that failed for good; the header Natter-Reason says why".to_owned()),
        subjects: vec![storage::MAIL_DEAD_SUBJECTS.to_owned()],
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        max_age: DEAD_FOR,
        duplicate_window: DUPLICATES,
        allow_direct: true,
        num_replicas: nats.replicas(),
        ..Default::default()
    };
    for config in [queue, dead] {
        nats.jetstream().create_or_update_stream(config).await?;
    }
    Ok(())
}

/// One-time codes have a lane of their own: no number of other letters delays a code.
pub(crate) fn lanes(timeout: Duration) -> [Durable; 2] {
    let lane = |name, subject: &str| Durable {
        name,
        streams: &[storage::MAIL_STREAM],
        filter: vec![subject.to_owned()],
        // A letter waits at most one attempt for its turn, then takes one; the rest is for what comes after.
        ack_wait: timeout.saturating_mul(3),
        max_ack_pending: MAX_PENDING,
        one_at_a_time: false,
    };
    [lane(storage::SEND_OTP_CONSUMER, OTP_SUBJECT), lane(storage::SEND_CONSUMER, NOTICE_SUBJECT)]
}

/// What sends the letters of the queue.
pub(crate) struct Queue {
    nats: Nats,
    transport: Transport,
    from: Mailbox,
    retry: RetryConfig,
}

/// Why a letter was not sent; carries the decision what to do.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("not a letter")]
    Decode(#[from] serde_json::Error),
    #[error("cannot be written")]
    Render(#[from] RenderError),
    #[error(transparent)]
    Send(#[from] SendError),
}

/// What happened to a letter that did not fail.
enum Sent {
    Sent,
    /// Worthless by now.
    Expired,
}

impl Failure {
    /// It will fail the same way every time.
    fn is_permanent(&self) -> bool {
        !matches!(self, Self::Send(SendError::Later(_) | SendError::Unusable(_)))
    }
}

impl Queue {
    pub(crate) fn new(nats: Nats, transport: Transport, from: Mailbox, retry: RetryConfig) -> Self {
        Self { nats, transport, from, retry }
    }

    /// Sends a letter and says what is to become of it on the queue.
    pub(crate) async fn handle(self: Arc<Self>, delivery: Delivery) -> (Delivery, Outcome) {
        let Stamp { id, written } = Stamp::of(&delivery);
        let (letter, sent) = match serde_json::from_slice::<Letter>(&delivery.message.payload) {
            Ok(letter) => (letter::kind(&letter.content), self.send(&letter, &id, written).await),
            Err(error) => ("unknown", Err(error.into())),
        };
        let (attempt, waited) = (delivery.attempt, Time::now().since(written));
        let trace_id = Trace::current().id();
        let (result, outcome) = match sent {
            Ok(Sent::Sent) => {
                tracing::info!(letter, id, attempt, ?waited, trace_id, "sent a letter");
                metrics::histogram!("natter_letter_wait_seconds", "letter" => letter).record(waited.as_secs_f64());
                ("sent", Outcome::Done)
            }
            Ok(Sent::Expired) => {
                tracing::warn!(letter, id, attempt, ?waited, trace_id, "a letter expired before it could be sent");
                ("expired", Outcome::Done)
            }
            Err(failure) => self.fail(&delivery, letter, &id, &failure).await,
        };
        metrics::counter!("natter_letters_total", "letter" => letter, "result" => result).increment(1);
        (delivery, outcome)
    }

    /// Later again, or never.
    async fn fail(
        &self,
        delivery: &Delivery,
        letter: &'static str,
        id: &str,
        failure: &Failure,
    ) -> (&'static str, Outcome) {
        let (attempt, error, trace_id) = (delivery.attempt, chain(failure), Trace::current().id());
        let after = self.retry.after(attempt).filter(|_| !failure.is_permanent());
        let Some(after) = after else {
            tracing::error!(letter, id, attempt, error, trace_id, "a letter failed for good; it goes to MAIL_DEAD");
            return ("dead", self.bury(delivery, id, &error).await);
        };
        if matches!(failure, Failure::Send(SendError::Unusable(_))) {
            tracing::error!(
                letter,
                id,
                attempt,
                ?after,
                error,
                trace_id,
                "cannot send letters at all: look at the mail server and at NATTER_MAIL__*; trying again"
            );
        } else {
            tracing::warn!(letter, id, attempt, ?after, error, trace_id, "cannot send a letter now; trying again");
        }
        ("retried", Outcome::Retry(after))
    }

    async fn send(&self, letter: &Letter, id: &str, written: Time) -> Result<Sent, Failure> {
        if letter.expires_at.is_some_and(|end| end <= Time::now()) {
            return Ok(Sent::Expired);
        }
        let rendered = letter::render(letter, id, written, &self.from)?;
        // Sorts by time, and is the same however often the letter is sent.
        let name = format!("{}-{id}", written.to_string().replace(['-', ':'], ""));
        self.transport.send(&rendered, &name).await?;
        Ok(Sent::Sent)
    }

    /// Puts a letter where it stays visible; only once that is acknowledged does it leave the queue.
    async fn bury(&self, delivery: &Delivery, id: &str, reason: &str) -> Outcome {
        let mut headers = HeaderMap::new();
        headers.insert(NATS_MESSAGE_ID, format!("dead.{}.{id}", delivery.sequence));
        headers.insert(headers::REASON, reason.replace(['\r', '\n'], " "));
        headers.insert(headers::ATTEMPTS, delivery.attempt.to_string());
        headers.insert(headers::LETTER_ID, id);
        headers.insert(headers::TRACEPARENT, Trace::current().to_string());
        let subject = storage::dead_subject(&delivery.message.subject);
        let published = async {
            let payload = delivery.message.payload.clone();
            self.nats.jetstream().publish_with_headers(subject, headers, payload).await?.await
        };
        match published.await {
            Ok(_) => Outcome::Discard,
            Err(error) => {
                tracing::warn!(error = chain(&error), "cannot put a letter into MAIL_DEAD; trying again");
                Outcome::Retry(self.retry.first)
            }
        }
    }
}

/// What a letter is called and when it was asked for: the same at every attempt.
struct Stamp {
    id: String,
    written: Time,
}

impl Stamp {
    fn of(delivery: &Delivery) -> Self {
        let millis = delivery.message.info().map_or(0, |info| info.published.unix_timestamp_nanos() / 1_000_000);
        let written = Time::from_millis(i64::try_from(millis).unwrap_or(0));
        // Part of `Message-ID` and of a file name: what is not plain is replaced by the place in the queue.
        let plain = |id: &&str| {
            (1..=100).contains(&id.len())
                && !id.starts_with('.')
                && !id.ends_with('.')
                && !id.contains("..")
                && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        };
        let id = delivery.header(NATS_MESSAGE_ID.as_ref()).filter(plain).map(str::to_owned);
        Self { id: id.unwrap_or_else(|| format!("{millis}.{}", delivery.sequence)), written }
    }
}
