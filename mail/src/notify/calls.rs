//! What people ask of their notifications.

use std::sync::Arc;

use contract::{
    Done, NotificationId, Refusal, Time, UserId,
    chat::MAX_PAGE,
    notification::{
        Announce, EmailSetting, GetSettings, ListNotifications, MAX_ANNOUNCED, Notification, NotificationEvent,
        NotificationPage, ReadAll, SetRead, Settings, Unsubscribe, UpdateSettings,
    },
    user::Role,
};
use hmac::{Hmac, KeyInit, Mac};
use service::absent;
use sha2::Sha256;

use super::{NotNow, Notify, announce::Step, quiet, store::Position, unless_raced};

type Shared = Arc<Notify>;

/// `call.mail.notifications`
pub async fn list(notify: Shared, asked: ListNotifications) -> Result<NotificationPage, Refusal> {
    if asked.user_id != asked.actor.user_id && asked.actor.role != Role::Admin {
        return Err(Refusal::forbidden("These are somebody else's notifications."));
    }
    if asked.limit == 0 || asked.limit > MAX_PAGE {
        return Err(Refusal::field("limit", format!("must be 1 to {MAX_PAGE}")));
    }
    let before = asked.cursor.as_deref().map(read_cursor).transpose()?;
    let mut found = notify.store.page(asked.user_id, asked.unread, before, asked.limit + 1).await?;
    let more = found.len() > asked.limit as usize;
    found.truncate(asked.limit as usize);
    let last = found.last().filter(|_| more);
    Ok(NotificationPage {
        next_cursor: last.map(|one| format!("{}.{}", one.at, one.id)),
        notifications: found.iter().map(super::store::Stored::shown).collect(),
        unread: notify.store.count_unread(asked.user_id).await?,
    })
}

fn read_cursor(cursor: &str) -> Result<Position, Refusal> {
    let position =
        cursor.split_once('.').and_then(|(at, id)| Some(Position { at: at.parse().ok()?, id: id.parse().ok()? }));
    position.ok_or_else(|| Refusal::field("cursor", "is not one that was given"))
}

/// `call.mail.set_read`
pub async fn set_read(notify: Shared, set: SetRead) -> Result<Notification, Refusal> {
    let user = set.actor.user_id;
    let one = notify.store.set_read(user, set.id, set.read.then(Time::now)).await?;
    let one = one.ok_or_else(|| Refusal::not_found("notification"))?;
    notify.say(&one, NotificationEvent::Updated).await;
    if set.read {
        notify.cancel_digest_if_all_read(user).await;
    }
    Ok(one.shown())
}

/// `call.mail.read_all`
pub async fn read_all(notify: Shared, read: ReadAll) -> Result<Done, Refusal> {
    let all = || async { notify.read(notify.store.unread_of(read.actor.user_id).await?).await };
    unless_raced(all).await.map_err(|error| absent("notifications", &error))?;
    Ok(Done {})
}

/// `call.mail.settings`
pub async fn settings(notify: Shared, get: GetSettings) -> Result<Settings, Refusal> {
    settings_of(&notify, get.actor.user_id).await
}

/// `call.mail.update_settings`
pub async fn update_settings(notify: Shared, update: UpdateSettings) -> Result<Settings, Refusal> {
    let user = update.actor.user_id;
    let mut settings = settings_of(&notify, user).await?;
    let changes = update.changes;
    settings.email = changes.email.unwrap_or(settings.email);
    settings.push = changes.push.unwrap_or(settings.push);
    if let Some(quiet_hours) = changes.quiet_hours {
        quiet_hours.as_ref().map(quiet::check).transpose()?;
        settings.quiet_hours = quiet_hours;
    }
    notify.store.set_settings(user, &settings).await?;
    Ok(settings)
}

async fn settings_of(notify: &Notify, user: UserId) -> Result<Settings, Refusal> {
    let settings = notify.store.settings(&[user]).await;
    let mut settings = settings.map_err(|error| service::mongo::refusal("settings", &error))?;
    Ok(settings.remove(&user).unwrap_or_default())
}

/// `call.mail.unsubscribe`
pub async fn unsubscribe(notify: Shared, end: Unsubscribe) -> Result<Done, Refusal> {
    let user =
        read_token(&notify.links.key, &end.token).ok_or_else(|| Refusal::field("token", "is not one of ours"))?;
    let settings = Settings { email: EmailSetting::Off, ..settings_of(&notify, user).await? };
    notify.store.set_settings(user, &settings).await?;
    Ok(Done {})
}

/// `call.mail.announce`
pub async fn announce(notify: Shared, announce: Announce) -> Result<Done, Refusal> {
    if announce.actor.role != Role::Admin {
        return Err(Refusal::forbidden("Only an admin may do this."));
    }
    let announcement = announce.announcement;
    if announcement.user_ids.as_ref().is_some_and(|users| users.len() > MAX_ANNOUNCED) {
        return Err(Refusal::field("userIds", format!("must be at most {MAX_ANNOUNCED}")));
    }
    if announcement.text.trim().is_empty() {
        return Err(Refusal::field("text", "must not be empty"));
    }
    let step = Step { id: NotificationId::new(), announcement, at: Time::now(), after: None };
    notify.queue_step(&step).await.map_err(|error: NotNow| absent("the queue of announcements", &error))?;
    Ok(Done {})
}

/// What ends a user's digests without a sign-in: `<userId>.<HMAC-SHA256 in hexadecimal>`. It does nothing else.
#[must_use]
pub fn unsubscribe_token(key: &str, user: UserId) -> String {
    use std::fmt::Write;
    let mut token = format!("{user}.");
    for byte in mac(key, user).map(|mac| mac.finalize().into_bytes()).unwrap_or_default() {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn read_token(key: &str, token: &str) -> Option<UserId> {
    let (user, hex) = token.split_once('.')?;
    let user: UserId = user.parse().ok()?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?;
    mac(key, user)?.verify_slice(&bytes).ok().map(|()| user)
}

fn mac(key: &str, user: UserId) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(format!("unsubscribe.{user}").as_bytes());
    Some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_its_user_and_under_its_key() {
        let (anna, ben) = (UserId::new(), UserId::new());
        let token = unsubscribe_token("key", anna);
        assert_eq!(read_token("key", &token), Some(anna));
        assert_eq!(read_token("other", &token), None);
        assert_eq!(read_token("key", &token.replace(&anna.to_string(), &ben.to_string())), None);
        for wrong in [
            "",
            ".",
            "x.y",
            &format!("{anna}."),
            &format!("{anna}.0"),
            &format!("{anna}.zz"),
            &token[..token.len() - 2],
        ] {
            assert_eq!(read_token("key", wrong), None, "{wrong}");
        }
    }
}
