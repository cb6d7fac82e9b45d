//! Web Push (RFC 8030, RFC 8291, RFC 8292): subscriptions of browsers. Calls of the `mail` service.

use serde::{Deserialize, Serialize};

use crate::{Actor, Done, calls};

/// Most subscriptions of one user; the oldest makes way.
pub const MAX_SUBSCRIPTIONS: usize = 20;

/// What a browser's `PushSubscription.toJSON()` gives. What else it has, such as `expirationTime`, is ignored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushSubscription {
    /// Where to push: whoever knows it may, so it is shown nowhere.
    pub endpoint: String,
    pub keys: PushKeys,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushKeys {
    /// The browser's public key, an uncompressed point on P-256 in base64url.
    pub p256dh: String,
    /// 16 bytes in base64url.
    pub auth: String,
}

impl std::fmt::Debug for PushSubscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushSubscription").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GetPushKey {}

/// The server's public key, what `pushManager.subscribe({applicationServerKey})` wants.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PushKey {
    /// An uncompressed point on P-256 in base64url.
    pub public_key: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscribe {
    pub actor: Actor,
    pub subscription: PushSubscription,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EndSubscription {
    pub actor: Actor,
    pub endpoint: String,
}

calls! {
    "call.mail.push_key": GetPushKey => PushKey;
    "call.mail.subscribe": Subscribe => Done;
    "call.mail.end_subscription": EndSubscription => Done;
}
