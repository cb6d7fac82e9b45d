//! The streams and the buckets that `chat` owns.

use std::time::Duration;

use async_nats::jetstream::stream::{self, Compression, DiscardPolicy, Republish, RetentionPolicy, StorageType};
use contract::{
    room,
    storage::{CHAT_STREAMS, CHATS_BUCKET, MEMBERS_BUCKET, READS_BUCKET, TYPING_BUCKET, log_subjects},
};
use service::{Bucket, Nats};

/// A repeated `Nats-Msg-Id` is known as one for this long.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(10);
/// The server's note that somebody stopped typing stays this long.
const TYPING_MARKERS: Duration = Duration::from_secs(10);

/// Makes the log and the buckets be there, as described.
pub async fn ensure(nats: &Nats, log_events: u32) -> Result<(), async_nats::Error> {
    for partition in 0..CHAT_STREAMS.len() {
        nats.jetstream().create_or_update_stream(log(partition, nats.replicas(), log_events)).await?;
    }
    Bucket::durable(CHATS_BUCKET, "Snapshots of chats").ensure(nats).await?;
    Bucket::durable(MEMBERS_BUCKET, "Who is in which chat, and own settings there")
        .republished("*.*", room::MEMBER_REPUBLISH)
        .ensure(nats)
        .await?;
    Bucket::durable(READS_BUCKET, "How far each member has got and seen a chat")
        .republished("*.*", room::READ_REPUBLISH)
        .ensure(nats)
        .await?;
    Bucket::volatile(TYPING_BUCKET, "Who is typing where")
        .with_ttl(TYPING_MARKERS)
        .republished("*.*", room::TYPING_REPUBLISH)
        .ensure(nats)
        .await?;
    Ok(())
}

fn log(partition: usize, num_replicas: usize, log_events: u32) -> stream::Config {
    stream::Config {
        name: CHAT_STREAMS[partition].to_owned(),
        description: Some("The log of every fourth conversation".to_owned()),
        subjects: vec![log_subjects(partition)],
        storage: StorageType::File,
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        max_messages_per_subject: log_events.into(),
        allow_direct: true,
        duplicate_window: DUPLICATE_WINDOW,
        // nats-server 2.15 compresses the last block when it stops, appends to it uncompressed after its start, and cannot
        // read it any more once it was killed then.
        compression: Some(Compression::None),
        republish: Some(Republish {
            source: log_subjects(partition),
            destination: room::LOG_REPUBLISH.to_owned(),
            headers_only: false,
        }),
        num_replicas,
        ..Default::default()
    }
}
