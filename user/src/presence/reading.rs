//! The bucket as it was read, and what follows from it; no I/O.

use std::collections::{HashMap, HashSet};

use contract::{
    GatewayId, Time, UserId,
    presence::{Availability, Presence, PresenceStatus, Seen, Session},
    storage::PresenceKey,
};
use service::Logged;

/// Some keys of the bucket `PRESENCE`.
#[derive(Default)]
pub struct Reading {
    leases: HashSet<GatewayId>,
    sessions: Vec<SessionKey>,
    views: HashMap<UserId, View>,
    /// The highest revision.
    pub newest: u64,
}

struct SessionKey {
    user: UserId,
    gateway: GatewayId,
    status: Availability,
    revision: u64,
}

/// A view as it stands: `None` where it is absent, though it may have a revision that a write must expect.
struct View {
    presence: Option<Presence>,
    revision: u64,
}

/// What is to be written.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    pub view: Presence,
    /// That they came or went, and when.
    pub moved: Option<Time>,
    /// The key must still be there.
    pub revision: u64,
}

impl Reading {
    pub fn of(messages: &[Logged]) -> Self {
        let mut reading = Self::default();
        for message in messages {
            let (revision, there) = (message.sequence, !message.is_removal());
            reading.newest = reading.newest.max(revision);
            match PresenceKey::parse(&message.subject) {
                Some(PresenceKey::Lease(gateway)) if there => {
                    reading.leases.insert(gateway);
                }
                Some(PresenceKey::Session(user, gateway)) if there => {
                    // What a newer gateway may say that is not known here is still somebody connected.
                    let session: Option<Session> = serde_json::from_slice(&message.payload).ok();
                    let status = session.map_or_else(Availability::default, |session| session.status);
                    reading.sessions.push(SessionKey { user, gateway, status, revision });
                }
                Some(PresenceKey::View(user)) => {
                    let presence = if there { serde_json::from_slice(&message.payload).ok() } else { None };
                    reading.views.insert(user, View { presence, revision });
                }
                _ => {}
            }
        }
        reading
    }

    /// What is to be written of a user, if anything.
    pub fn change(&self, user: UserId, now: Time) -> Option<Change> {
        self.follows(user, self.statuses().get(&user).copied(), now)
    }

    /// Users of whom something is to be written.
    pub fn changed(&self) -> Vec<UserId> {
        let (statuses, now) = (self.statuses(), Time::now());
        let users: HashSet<UserId> = statuses.keys().chain(self.views.keys()).copied().collect();
        users.into_iter().filter(|user| self.follows(*user, statuses.get(user).copied(), now).is_some()).collect()
    }

    /// Sessions of gateways that are gone, with their revisions.
    pub fn orphans(&self) -> Vec<(PresenceKey, u64)> {
        let gone = self.sessions.iter().filter(|session| !self.leases.contains(&session.gateway));
        gone.map(|session| (PresenceKey::Session(session.user, session.gateway), session.revision)).collect()
    }

    pub fn into_views(self) -> HashMap<UserId, Seen> {
        let seen =
            |(user, view): (_, View)| view.presence.map(|presence| (user, Seen { presence, revision: view.revision }));
        self.views.into_iter().filter_map(seen).collect()
    }

    /// What others should see of those with sessions.
    fn statuses(&self) -> HashMap<UserId, PresenceStatus> {
        let mut sessions: HashMap<UserId, Vec<Availability>> = HashMap::new();
        for session in self.sessions.iter().filter(|session| self.leases.contains(&session.gateway)) {
            sessions.entry(session.user).or_default().push(session.status);
        }
        let shown = |(user, all)| Some((user, Availability::combined(all)?.shown()));
        sessions.into_iter().filter_map(shown).collect()
    }

    fn follows(&self, user_id: UserId, status: Option<PresenceStatus>, now: Time) -> Option<Change> {
        let status = status.unwrap_or(PresenceStatus::Offline);
        let online = status != PresenceStatus::Offline;
        let stored = self.views.get(&user_id);
        let (revision, view) = stored.map_or((0, None), |stored| (stored.revision, stored.presence.as_ref()));
        if view.map_or(PresenceStatus::Offline, |view| view.status) == status {
            return None;
        }
        let moved = view.is_some_and(|view| view.online) != online;
        let last_seen_at = if moved { Some(now) } else { view.and_then(|view| view.last_seen_at) };
        let view = Presence { user_id, online, status, last_seen_at };
        Some(Change { view, moved: moved.then_some(now), revision })
    }
}

#[cfg(test)]
mod tests {
    use async_nats::HeaderMap;
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    /// Keys with their values, `null` for a removal, at revisions from 1.
    fn reading(keys: &[(PresenceKey, serde_json::Value)]) -> Reading {
        let message = |(revision, (key, value)): (u64, &(PresenceKey, serde_json::Value))| {
            let mut headers = HeaderMap::new();
            if value.is_null() {
                headers.insert("Nats-Marker-Reason", "MaxAge");
            }
            let payload = value.to_string().into();
            let subject = format!("$KV.PRESENCE.{key}").into();
            Logged { subject, sequence: revision, stored_at: Timestamp::UNIX_EPOCH, headers, payload }
        };
        Reading::of(&(1..).zip(keys).map(message).collect::<Vec<_>>())
    }

    fn lease(gateway: GatewayId) -> (PresenceKey, serde_json::Value) {
        (PresenceKey::Lease(gateway), json!({ "since": noon() }))
    }

    fn session(user: UserId, gateway: GatewayId, status: &str) -> (PresenceKey, serde_json::Value) {
        (PresenceKey::Session(user, gateway), json!({ "status": status }))
    }

    fn view(user_id: UserId, status: PresenceStatus, at: Time) -> Presence {
        Presence { user_id, online: status != PresenceStatus::Offline, status, last_seen_at: Some(at) }
    }

    fn stored(user: UserId, status: PresenceStatus, at: Time) -> (PresenceKey, serde_json::Value) {
        (PresenceKey::View(user), json!(view(user, status, at)))
    }

    fn ids() -> (UserId, GatewayId, GatewayId) {
        (UserId::new(), GatewayId::new(), GatewayId::new())
    }

    #[test]
    fn who_comes_is_seen_then() {
        let (user, here, there) = ids();
        let came = reading(&[lease(here), lease(there), session(user, here, "away"), session(user, there, "dnd")]);
        let expected = Change { view: view(user, PresenceStatus::Dnd, noon()), moved: Some(noon()), revision: 0 };
        assert_eq!(came.change(user, noon()), Some(expected));
        assert_eq!(came.changed(), [user]);
        assert_eq!(came.change(UserId::new(), noon()), None);
    }

    #[test]
    fn who_changes_was_there_all_along() {
        let (user, here, _) = ids();
        let keys = [lease(here), session(user, here, "away"), stored(user, PresenceStatus::Online, noon())];
        let expected = Change { view: view(user, PresenceStatus::Away, noon()), moved: None, revision: 3 };
        assert_eq!(reading(&keys).change(user, later()), Some(expected));
    }

    #[test]
    fn what_is_so_is_not_written() {
        let (user, here, there) = ids();
        let (seen, gone) =
            (stored(user, PresenceStatus::Online, noon()), stored(user, PresenceStatus::Offline, noon()));
        assert_eq!(reading(&[lease(here), session(user, here, "online"), seen]).change(user, later()), None);
        // Nobody, somebody invisible, and a session without a lease.
        for keys in [vec![gone.clone()], vec![], vec![lease(here), session(user, here, "invisible"), gone]] {
            assert_eq!(reading(&keys).change(user, later()), None);
        }
        assert_eq!(reading(&[lease(here), session(user, there, "online")]).change(user, later()), None);
    }

    #[test]
    fn who_goes_hides_or_loses_the_gateway_is_offline() {
        let (user, here, there) = ids();
        let seen = stored(user, PresenceStatus::Online, noon());
        for keys in [
            vec![seen.clone()],
            vec![
                seen.clone(),
                lease(here),
                session(user, here, "online"),
                session(user, there, "invisible"),
                lease(there),
            ],
            vec![seen.clone(), session(user, here, "online"), lease(there)],
            vec![seen.clone(), session(user, here, "online"), (PresenceKey::Lease(here), json!(null))],
            vec![seen, (PresenceKey::Session(user, here), json!(null)), lease(here)],
        ] {
            let expected =
                Change { view: view(user, PresenceStatus::Offline, later()), moved: Some(later()), revision: 1 };
            assert_eq!(reading(&keys).change(user, later()), Some(expected));
            assert_eq!(reading(&keys).changed(), [user]);
        }
    }

    #[test]
    fn a_view_that_is_gone_or_unreadable_leaves_its_revision() {
        let (user, here, _) = ids();
        for rest in [json!(null), json!("?")] {
            let came = reading(&[lease(here), session(user, here, "busy"), (PresenceKey::View(user), rest)]);
            let expected =
                Change { view: view(user, PresenceStatus::Online, noon()), moved: Some(noon()), revision: 3 };
            assert_eq!(came.change(user, noon()), Some(expected));
            assert!(came.into_views().is_empty());
        }
    }

    #[test]
    fn sessions_without_a_lease_are_orphans() {
        let (user, here, there) = ids();
        let keys = [session(user, here, "online"), session(user, there, "online"), lease(here)];
        assert_eq!(reading(&keys).orphans(), [(PresenceKey::Session(user, there), 2)]);
        assert_eq!(reading(&keys).newest, 3);
    }

    fn noon() -> Time {
        Time::from_millis(43_200_000)
    }

    fn later() -> Time {
        noon().plus(std::time::Duration::from_secs(1))
    }
}
