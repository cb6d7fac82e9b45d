//! What `service` has no need of elsewhere: a KV key as it stands, deleted or not.
//!
//! `kv::Store::create_with_ttl` of async-nats 0.51 forgets the TTL where the key was there before.

use async_nats::jetstream::stream::DirectGetErrorKind;
use bytes::Bytes;
use contract::Refusal;
use service::{Nats, absent};

/// A key as it stands.
#[derive(Debug)]
pub struct Latest {
    /// What a write must expect; 0 where there is no trace of the key.
    pub revision: u64,
    /// `None` where it is absent, deleted or expired.
    pub value: Option<Bytes>,
}

pub async fn latest(nats: &Nats, bucket: &str, key: &str) -> Result<Latest, Refusal> {
    let stream = nats.jetstream().get_stream_no_info(format!("KV_{bucket}")).await;
    let stream = stream.map_err(|error| absent(bucket, &error))?;
    match stream.direct_get_last_for_subject(format!("$KV.{bucket}.{key}")).await {
        Ok(message) => {
            let headers = &message.headers;
            let gone = headers.get("KV-Operation").is_some() || headers.get("Nats-Marker-Reason").is_some();
            Ok(Latest { revision: message.sequence, value: (!gone).then_some(message.payload) })
        }
        Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(Latest { revision: 0, value: None }),
        Err(error) => Err(absent(bucket, &error)),
    }
}
