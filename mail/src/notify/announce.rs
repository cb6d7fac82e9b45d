//! System alerts: to everybody, a batch at a time. Each step queues the next before it is acknowledged, and what a step
//! does twice it does once, so an announcement survives the death of whoever makes it.

use std::collections::HashSet;

use async_nats::jetstream::message::PublishMessage;
use contract::{
    NotificationId, Time, UserId,
    mail::{ANNOUNCE_SUBJECT, Content, Letter, NOTICE_SUBJECT},
    notification::{Announcement, EmailSetting, NotificationEvent, NotificationType},
    user::{Contact, GetContacts, ListContacts},
};
use serde::{Deserialize, Serialize};
use service::{Delivery, Outcome, chain};

use super::{AGAIN, NotNow, Notify, counted::Counted, store::Stored};

/// People of one step.
const BATCH: usize = 250;

/// One step of an announcement.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Step {
    pub(super) id: NotificationId,
    pub(super) announcement: Announcement,
    pub(super) at: Time,
    /// The last one who has been told.
    pub(super) after: Option<UserId>,
}

impl Notify {
    /// Queues a step; the same step twice is one.
    pub(super) async fn queue_step(&self, step: &Step) -> Result<(), NotNow> {
        let after = step.after.map_or_else(String::new, |after| after.to_string());
        let message = PublishMessage::build()
            .payload(serde_json::to_vec(step)?.into())
            .message_id(format!("announcement.{}.{after}", step.id));
        self.nats.jetstream().send_publish(ANNOUNCE_SUBJECT, message).await?.await?;
        Ok(())
    }

    pub(super) async fn announce_step(&self, delivery: Delivery) -> (Delivery, Outcome) {
        let Ok(step) = serde_json::from_slice::<Step>(&delivery.message.payload) else {
            tracing::error!("not a step of an announcement");
            return (delivery, Outcome::Discard);
        };
        let outcome = match self.take_step(step).await {
            Ok(()) => Outcome::Done,
            Err(error) => {
                tracing::warn!(error = chain(&error), "an announcement is held up; trying again");
                Outcome::Retry(AGAIN)
            }
        };
        (delivery, outcome)
    }

    async fn take_step(&self, mut step: Step) -> Result<(), NotNow> {
        let (contacts, last) = self.next_contacts(&step).await?;
        let new: Vec<Stored> = contacts.iter().map(|contact| notification(&step, contact.id)).collect();
        self.store.add(&new).await?;
        for one in &new {
            self.say(one, NotificationEvent::New).await;
        }
        if step.announcement.mail {
            self.queue_letters(&step, &contacts).await?;
        }
        if let Some(last) = last {
            step.after = Some(last);
            self.queue_step(&step).await?;
        }
        Ok(())
    }

    /// The next people, and the last of them if there may be more.
    async fn next_contacts(&self, step: &Step) -> Result<(Vec<Contact>, Option<UserId>), NotNow> {
        let Some(user_ids) = &step.announcement.user_ids else {
            let limit = u32::try_from(BATCH).unwrap_or(u32::MAX);
            let contacts = self.caller.call(&ListContacts { after: step.after, limit }).await?.contacts;
            let last = contacts.last().filter(|_| contacts.len() == BATCH).map(|contact| contact.id);
            return Ok((contacts, last));
        };
        let mut user_ids: Vec<UserId> = user_ids.iter().copied().collect::<HashSet<_>>().into_iter().collect();
        user_ids.sort_unstable();
        user_ids.retain(|user| step.after.is_none_or(|after| *user > after));
        let more = user_ids.len() > BATCH;
        user_ids.truncate(BATCH);
        let last = user_ids.last().copied().filter(|_| more);
        Ok((self.caller.call(&GetContacts { user_ids }).await?.contacts, last))
    }

    async fn queue_letters(&self, step: &Step, contacts: &[Contact]) -> Result<(), NotNow> {
        let users: Vec<UserId> = contacts.iter().map(|contact| contact.id).collect();
        let settings = self.store.settings(&users).await?;
        for contact in contacts {
            if settings.get(&contact.id).is_some_and(|settings| settings.email == EmailSetting::Off) {
                continue;
            }
            let Announcement { title, text, .. } = &step.announcement;
            let letter = Letter {
                to: contact.email.clone(),
                name: Some(contact.name.clone()),
                content: Content::Alert { title: title.clone(), text: text.clone() },
                expires_at: None,
            };
            let message = PublishMessage::build()
                .payload(serde_json::to_vec(&letter)?.into())
                .message_id(format!("announcement.{}.{}.letter", step.id, contact.id));
            self.nats.jetstream().send_publish(NOTICE_SUBJECT, message).await?.await?;
        }
        Ok(())
    }
}

fn notification(step: &Step, user: UserId) -> Stored {
    Stored {
        id: NotificationId::of(user, &format!("announcement.{}", step.id)),
        user_id: user,
        kind: NotificationType::System,
        chat_id: None,
        chat_name: Some((*step.announcement.title).to_owned()),
        seq: None,
        from: None,
        preview: super::plan::preview(&format!("{}: {}", &*step.announcement.title, &*step.announcement.text)),
        count: 1,
        created_at: step.at,
        counted: Counted::default(),
        at: step.at.as_millis(),
        read_at: None,
        open: false,
        // Who wants a letter gets one of its own.
        mailed: step.announcement.mail,
        version: 0,
    }
}
