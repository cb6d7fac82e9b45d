//! Telling people: their devices at once; browsers and, later, letters where nobody is looking.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use async_nats::HeaderMap;
use contract::{
    Actor, NotificationId, SessionId, Time, UserId, headers,
    notification::{NotificationEvent, NotificationType, Settings},
    presence::{GetPresence, MAX_PRESENCE, PresenceStatus},
    push::{About, PushJob, Topic, Urgency},
    room,
    user::Role,
};

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::value::RawValue;

use super::{NotNow, Notify, quiet, store::Stored};
use crate::push;

/// Messages put onto queues at a time.
pub(super) const AT_ONCE: usize = 64;
/// Push services keep a message for a browser that is not there for this long.
const PUSHED_FOR: Duration = Duration::from_hours(24);

impl Notify {
    /// Tells of notifications; those of `news` are more than a correction.
    pub(super) async fn tell(
        &self,
        new: &[Stored],
        changed: &[Stored],
        news: &HashSet<NotificationId>,
    ) -> Result<(), NotNow> {
        let news: Vec<&Stored> = new.iter().chain(changed).filter(|one| news.contains(&one.id)).collect();
        // Before anything is said, so that who cannot be told now is told later, and once.
        let looking = self.looking(&news.iter().map(|one| one.user_id).collect()).await?;
        for one in new {
            self.say(one, NotificationEvent::New).await;
        }
        for one in changed {
            self.say(one, NotificationEvent::Updated).await;
        }
        let away: Vec<&Stored> = news.into_iter().filter(|one| !looking.contains(&one.user_id)).collect();
        if away.is_empty() {
            return Ok(());
        }
        let users: HashSet<UserId> = away.iter().map(|one| one.user_id).collect();
        let settings = self.store.settings(&users.iter().copied().collect::<Vec<_>>()).await?;
        self.push(&away, &settings).await
    }

    /// To the user's devices, which ask again when they were away.
    pub(super) async fn say(&self, one: &Stored, event: NotificationEvent) {
        let Ok(json) = serde_json::to_vec(&one.shown()) else { return };
        let mut headers = HeaderMap::new();
        headers.insert(headers::EVENT, event.name());
        let said = self.nats.client().publish_with_headers(room::notification(one.user_id), headers, json.into());
        if let Err(error) = said.await {
            tracing::warn!(%error, "cannot tell a user's devices of a notification");
        }
    }

    /// Who of these is at one of their devices.
    pub(super) async fn looking(&self, users: &HashSet<UserId>) -> Result<HashSet<UserId>, NotNow> {
        // Who asks is of no interest to `user` here.
        let actor = Actor { user_id: UserId::default(), session_id: SessionId::default(), role: Role::User };
        let users: Vec<UserId> = users.iter().copied().collect();
        let mut looking = HashSet::new();
        for user_ids in users.chunks(MAX_PRESENCE) {
            let answer = self.caller.call(&GetPresence { actor, user_ids: user_ids.to_vec() }).await?;
            let there = answer
                .presence
                .into_iter()
                .map(|seen| seen.presence)
                .filter(|presence| matches!(presence.status, PresenceStatus::Online | PresenceStatus::Dnd));
            looking.extend(there.map(|presence| presence.user_id));
        }
        Ok(looking)
    }

    /// When a user was last seen to come or go.
    pub(super) async fn last_seen(&self, user: UserId) -> Result<Option<Time>, NotNow> {
        let actor = Actor { user_id: user, session_id: SessionId::default(), role: Role::User };
        let answer = self.caller.call(&GetPresence { actor, user_ids: vec![user] }).await?;
        Ok(answer.presence.first().and_then(|seen| seen.presence.last_seen_at))
    }

    async fn push(&self, away: &[&Stored], settings: &HashMap<UserId, Settings>) -> Result<(), NotNow> {
        let wanted = |one: &&&Stored| {
            let settings = settings.get(&one.user_id);
            settings.is_none_or(|settings| settings.push && !quiet::is_quiet(settings, Time::now()))
        };
        let pushes: Vec<_> = away.iter().filter(wanted).map(|one| self.enqueue_push(one)).collect();
        stream::iter(pushes).buffer_unordered(AT_ONCE).try_collect().await
    }

    /// What a service worker shows, and what it needs to open the right place.
    async fn enqueue_push(&self, one: &Stored) -> Result<(), NotNow> {
        let json = serde_json::to_string(&one.shown())?;
        let job = PushJob {
            user_id: one.user_id,
            topic: one.chat_id.map(Topic::of_chat),
            ttl_seconds: u32::try_from(PUSHED_FOR.as_secs()).unwrap_or(u32::MAX),
            urgency: if one.kind == NotificationType::Message { Urgency::Normal } else { Urgency::High },
            payload: RawValue::from_string(json)?,
            expires_at: Time::now().plus(PUSHED_FOR),
            about: Some(About { notification: one.id, at: one.at }),
            only: None,
        };
        // What comes late is counted and changes nothing else.
        let id = format!("push.{}.{}.{}", one.id, one.at, one.count);
        Ok(push::enqueue(&self.nats, &job, &id).await?)
    }
}
