//! Letters, onto the queue of the mail service.

use async_nats::jetstream::message::PublishMessage;
use contract::{Refusal, headers, mail::Letter};
use service::{Nats, Trace, absent, fault};

/// Queues a letter; once this answers it will be sent. The same `id` is sent once.
pub async fn post(nats: &Nats, letter: &Letter, id: &str) -> Result<(), Refusal> {
    let body = serde_json::to_vec(letter).map_err(|error| fault("writing a letter", &error))?;
    let message = PublishMessage::build()
        .payload(body.into())
        .message_id(id)
        .header(headers::TRACEPARENT, Trace::current().child().to_string());
    let ack = nats.jetstream().send_publish(letter.subject(), message).await;
    let ack = ack.map_err(|error| absent("the queue of letters", &error))?;
    ack.await.map(|_| ()).map_err(|error| absent("the queue of letters", &error))
}
