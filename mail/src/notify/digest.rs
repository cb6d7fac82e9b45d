//! One letter for all that stays unread: scheduled by NATS (ADR-51), cancelled by reading.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_nats::jetstream::{context::PublishError, message::PublishMessage};
use contract::{
    Time, UserId,
    mail::{Content, DIGEST_SUBJECT, Digest, DigestItem, Letter, NOTICE_SUBJECT},
    notification::EmailSetting,
    storage::MAIL_STREAM,
    user::GetContacts,
};
use futures::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use service::{Delivery, Outcome, chain};

use super::{AGAIN, NotNow, Notify, calls, quiet, store::Stored, tell::AT_ONCE};

/// Chats that a letter names.
const ITEMS: usize = 20;

/// What a schedule delivers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Due {
    user_id: UserId,
}

impl Notify {
    /// Schedules letters to those who want them; whether they are still needed is seen when they are due.
    pub(super) async fn schedule_digests(&self, users: HashSet<UserId>) -> Result<(), NotNow> {
        if users.is_empty() {
            return Ok(());
        }
        let users: Vec<UserId> = users.into_iter().collect();
        let settings = self.store.settings(&users).await?;
        let wants = |user: &UserId| settings.get(user).is_none_or(|one| one.email == EmailSetting::Digest);
        let schedules: Vec<_> =
            users.into_iter().filter(wants).map(|user| self.schedule_digest(user, self.digest.after)).collect();
        stream::iter(schedules).buffer_unordered(AT_ONCE).try_collect().await
    }

    async fn schedule_digest(&self, user: UserId, after: Duration) -> Result<(), NotNow> {
        let message = PublishMessage::build()
            .payload(serde_json::to_vec(&Due { user_id: user })?.into())
            .header("Nats-Schedule", format!("@at {}", Time::now().plus(after)))
            .header("Nats-Schedule-Target", DIGEST_SUBJECT)
            // One that is under way stays as it is: what comes later does not put it off.
            .expected_last_subject_sequence(0);
        let sent = self.nats.jetstream().send_publish(schedule(user), message).await;
        let outcome: Result<_, PublishError> = match sent {
            Ok(ack) => ack.await.map(|_| ()),
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if service::is_lost_race(&error) => Ok(()),
            outcome => Ok(outcome?),
        }
    }

    /// Somebody has read something. If it was all, no letter is needed; if this fails, the letter finds nothing to tell.
    pub(super) async fn cancel_digest_if_all_read(&self, user: UserId) {
        if !matches!(self.store.count_unread(user).await, Ok(0)) {
            return;
        }
        let purged = async {
            let stream = self.nats.jetstream().get_stream_no_info(MAIL_STREAM).await?;
            stream.purge().filter(schedule(user)).await?;
            Ok::<(), async_nats::Error>(())
        };
        if let Err(error) = purged.await {
            tracing::debug!(error = chain(error.as_ref()), "cannot cancel a digest");
        }
    }

    /// A digest has fallen due.
    pub(super) async fn write_digest(&self, delivery: Delivery) -> (Delivery, Outcome) {
        let Ok(Due { user_id }) = serde_json::from_slice(&delivery.message.payload) else {
            tracing::error!("not a digest that is due");
            return (delivery, Outcome::Discard);
        };
        let outcome = match self.digest_of(user_id).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                tracing::warn!(user = %user_id, error = chain(&error), "cannot write a digest; trying again");
                Outcome::Retry(AGAIN)
            }
        };
        (delivery, outcome)
    }

    async fn digest_of(&self, user: UserId) -> Result<(), NotNow> {
        let settings = self.store.settings(&[user]).await?.remove(&user).unwrap_or_default();
        if settings.email == EmailSetting::Off {
            return Ok(());
        }
        let unread = self.store.to_mail(user).await?;
        let Some(latest) = unread.iter().map(|one| one.at).max() else { return Ok(()) };
        if let Some(left) = settings.quiet_hours.as_ref().and_then(|hours| quiet::left(hours, Time::now())) {
            return self.schedule_digest(user, left).await;
        }
        if !self.looking(&HashSet::from([user])).await?.is_empty() {
            // They are at one of their devices: perhaps they will have read it by then.
            return self.schedule_digest(user, self.digest.after).await;
        }
        // One letter for each time they are away, however much comes meanwhile.
        if self.store.mailed_since(user, self.last_seen(user).await?).await? {
            return Ok(());
        }
        let mut asked: HashSet<UserId> = unread.iter().filter_map(|one| one.from).collect();
        asked.insert(user);
        let contacts = self.caller.call(&GetContacts { user_ids: asked.into_iter().collect() }).await?.contacts;
        let names: HashMap<UserId, String> =
            contacts.iter().map(|contact| (contact.id, (*contact.name).to_owned())).collect();
        // Who is gone, or has not proven their address, gets no letters.
        let Some(contact) = contacts.into_iter().find(|contact| contact.id == user) else { return Ok(()) };
        let letter = Letter {
            to: contact.email,
            name: Some(contact.name),
            content: Content::Digest(self.content(user, &unread, &names)),
            expires_at: None,
        };
        let message = PublishMessage::build()
            .payload(serde_json::to_vec(&letter)?.into())
            .message_id(format!("digest.{user}.{latest}"));
        self.nats.jetstream().send_publish(NOTICE_SUBJECT, message).await?.await?;
        self.store.set_mailed(user, latest).await?;
        Ok(())
    }

    fn content(&self, user: UserId, unread: &[Stored], names: &HashMap<UserId, String>) -> Digest {
        let item = |one: &Stored| DigestItem {
            chat: one.chat_name.clone(),
            from: one.from.and_then(|from| names.get(&from)).map_or_else(|| "Somebody".to_owned(), Clone::clone),
            preview: one.preview.clone(),
            count: one.count,
        };
        Digest {
            items: unread.iter().take(ITEMS).map(item).collect(),
            more: unread.len().saturating_sub(ITEMS) as u64,
            unsubscribe_url: format!(
                "{}/api/notifications/unsubscribe?token={}",
                self.links.public_url,
                calls::unsubscribe_token(&self.links.key, user)
            ),
        }
    }
}

/// Subject of a user's schedule.
fn schedule(user: UserId) -> String {
    format!("mail.schedule.digest.{user}")
}
