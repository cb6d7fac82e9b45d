//! What Natter's parts say to each other and to the frontend: every subject, request, reply, event, error code and
//! id type. Serde only, no I/O; it compiles without any implementation.

pub mod chat;
pub mod event;
pub mod headers;
pub mod id;
pub mod mail;
pub mod notification;
pub mod presence;
pub mod push;
pub mod refusal;
pub mod room;
pub mod storage;
pub mod text;
pub mod time;
pub mod user;

pub use id::{ChatId, GatewayId, NotificationId, SessionId, UserId};
pub use refusal::{Code, FieldError, Refusal};
pub use time::Time;

use serde::{Serialize, de::DeserializeOwned};

/// A call over NATS: the request type is bound to its subject and to what answers it.
///
/// Subjects are `call.<service>.<verb>`. A call that succeeds answers `Reply` as JSON; one that is refused answers
/// with the NATS micro error headers (ADR-32) and a [`Refusal`] in [`headers::REFUSAL`].
pub trait Request: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The full subject, `call.<service>.<verb>`.
    const SUBJECT: &'static str;
    /// What a call that is not refused answers.
    type Reply: Serialize + DeserializeOwned + Send + 'static;
}

/// Binds request types to their subjects and replies; reads as the table of contents of a service.
macro_rules! calls {
    ($($(#[$doc:meta])* $subject:literal: $request:ty => $reply:ty;)+) => {
        $($(#[$doc])* impl $crate::Request for $request {
            const SUBJECT: &'static str = $subject;
            type Reply = $reply;
        })+
    };
}
pub(crate) use calls;

/// Who asks. Only the gateway fills it, from a verified access token; services trust it because NATS permissions let
/// none but Natter's services publish `call.>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Actor {
    pub user_id: UserId,
    pub session_id: SessionId,
    pub role: user::Role,
}

/// The empty answer of a call that has nothing to say but that it was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Done {}
