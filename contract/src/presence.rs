//! Who is there: what gateways say, what others see of it, and the call that asks.

use serde::{Deserialize, Serialize};

use crate::{Actor, Time, UserId, calls};

/// Most users of one question.
pub const MAX_PRESENCE: usize = 500;

/// What a connected person wants to be seen as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    #[default]
    Online,
    /// Connected, but not looking.
    Away,
    /// Do not disturb.
    Dnd,
    /// As one who is not connected.
    Invisible,
}

impl Availability {
    /// What several devices make together: a wish (`invisible`, then `dnd`) holds for the whole person; otherwise somebody
    /// is online who is at one of their devices.
    #[must_use]
    pub fn combined(all: impl IntoIterator<Item = Self>) -> Option<Self> {
        let rank = |availability: &Self| match availability {
            Self::Invisible => 3,
            Self::Dnd => 2,
            Self::Online => 1,
            Self::Away => 0,
        };
        all.into_iter().max_by_key(rank)
    }

    /// What others see.
    #[must_use]
    pub const fn shown(self) -> PresenceStatus {
        match self {
            Self::Online => PresenceStatus::Online,
            Self::Away => PresenceStatus::Away,
            Self::Dnd => PresenceStatus::Dnd,
            Self::Invisible => PresenceStatus::Offline,
        }
    }
}

/// What others see of somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PresenceStatus {
    Online,
    Away,
    Dnd,
    Offline,
}

/// `presence`: a person as others see them. Stored as `view.<userId>` in the bucket `PRESENCE` and republished to
/// `presence.<userId>`; absent for those who have been offline for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    pub user_id: UserId,
    pub online: bool,
    pub status: PresenceStatus,
    /// When they were last seen to come or go; `None`: never.
    pub last_seen_at: Option<Time>,
}

/// That a gateway is alive: `gateway.<gatewayId>` in the bucket `PRESENCE`, with a TTL of [`LEASE_SECONDS`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// When the gateway started.
    pub since: Time,
}

/// Seconds a lease lives that is not renewed.
pub const LEASE_SECONDS: u64 = 15;
/// Seconds between renewals.
pub const RENEW_SECONDS: u64 = 5;

/// Somebody's connections to one gateway: `user.<userId>.<gatewayId>` in the bucket `PRESENCE`, there from the first to
/// the last of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub status: Availability,
}

/// Answered without MongoDB.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetPresence {
    pub actor: Actor,
    /// At most [`MAX_PRESENCE`].
    pub user_ids: Vec<UserId>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Presences {
    /// In the order they were asked for.
    pub presence: Vec<Seen>,
}

/// A person's presence and when in the bucket's history it was so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    pub presence: Presence,
    /// Revision of `view.<userId>`, 0 where it is absent: what is republished later has a higher one.
    pub revision: u64,
}

calls! {
    "call.user.presence": GetPresence => Presences;
}

#[cfg(test)]
mod tests {
    use super::Availability::{Away, Dnd, Invisible, Online};
    use super::*;

    #[test]
    fn several_devices_are_one_person() {
        assert_eq!(Availability::combined([]), None);
        assert_eq!(Availability::combined([Away, Online]), Some(Online));
        assert_eq!(Availability::combined([Away, Away]), Some(Away));
        assert_eq!(Availability::combined([Online, Dnd]), Some(Dnd));
        assert_eq!(Availability::combined([Invisible, Online, Dnd]), Some(Invisible));
    }
}
