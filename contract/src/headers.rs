//! Header names on NATS messages that are Natter's own, beside those of NATS.

/// Name of the log event a message carries, such as `message:new`: what a gateway emits it as.
pub const EVENT: &str = "Natter-Event";
/// Number of this event in its chat, counted 1, 2, 3 ... over events of all kinds.
pub const EVENT_NUMBER: &str = "Natter-Event-Number";
/// User ids, separated by commas, who are no longer in the chat once this event has been delivered to them.
pub const LEFT: &str = "Natter-Left";
/// Which instance of `chat` appended the event: it knows the chat as it is, so that whoever asks it next loses no race.
pub const INSTANCE: &str = "Natter-Instance";
/// On a receipt: `own` where only the user's own devices are to hear of it.
pub const AUDIENCE: &str = "Natter-Audience";
pub const AUDIENCE_OWN: &str = "own";
/// A [`Refusal`](crate::Refusal) as JSON, beside the micro error headers of ADR-32.
pub const REFUSAL: &str = "Natter-Refusal";
/// W3C Trace Context.
pub const TRACEPARENT: &str = "traceparent";
/// On a dead letter: why it failed, in one line.
pub const REASON: &str = "Natter-Reason";
/// On a dead letter: how often it was tried.
pub const ATTEMPTS: &str = "Natter-Attempts";
/// On a dead letter: what it was called, as in its `Message-ID`.
pub const LETTER_ID: &str = "Natter-Letter-Id";
