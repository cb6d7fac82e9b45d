//! Durable consumers: done, again, never; and again after NATS and its streams were gone.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::jetstream::stream;
use contract::storage::{CHAT_STREAMS, log_subjects};
use service::{Durable, Outcome, Service};
use testkit::{Nats, eventually};

use crate::world::{SOON, service};

type Seen = Arc<Mutex<Vec<(String, u64)>>>;

async fn with_log(nats: &Nats) -> Service {
    let chat = service(nats, "chat").await;
    chat.storage(|nats| async move {
        for (partition, name) in CHAT_STREAMS.iter().enumerate() {
            let config = stream::Config {
                name: (*name).to_owned(),
                subjects: vec![log_subjects(partition)],
                allow_direct: true,
                ..Default::default()
            };
            nats.jetstream().create_or_update_stream(config).await?;
        }
        Ok(())
    })
    .await
    .unwrap();
    chat
}

fn durable() -> Durable {
    Durable {
        name: "archive",
        streams: &CHAT_STREAMS,
        filter: Vec::new(),
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 100,
        one_at_a_time: false,
    }
}

fn consume(chat: &Service, durable: Durable) -> Seen {
    let seen = Seen::default();
    let log = seen.clone();
    chat.consume(durable, 4, move |delivery| {
        let log = log.clone();
        async move {
            let text = String::from_utf8(delivery.message.payload.to_vec()).unwrap();
            let outcome = match text.as_str() {
                "again" if delivery.attempt < 3 => Outcome::Retry(Duration::from_millis(10)),
                "never" => Outcome::Discard,
                _ => Outcome::Done,
            };
            log.lock().unwrap().push((text, delivery.attempt));
            (delivery, outcome)
        }
    });
    seen
}

/// Into one of the streams, by the length of the text.
async fn publish(chat: &Service, text: &'static str) {
    let subject = format!("chat.log.{}.x", text.len() % CHAT_STREAMS.len());
    eventually("the event is published", SOON, async || {
        chat.nats().jetstream().publish(subject.clone(), text.into()).await.ok()?.await.ok()
    })
    .await;
}

async fn saw(seen: &Seen, text: &str, attempt: u64) {
    let wanted = (text.to_owned(), attempt);
    eventually(text, SOON, async || seen.lock().unwrap().contains(&wanted).then_some(())).await;
}

#[tokio::test]
async fn outcomes_become_acknowledgements() {
    let nats = Nats::start().await;
    let chat = with_log(&nats).await;
    let seen = consume(&chat, durable());
    for text in ["never", "again", "once"] {
        publish(&chat, text).await;
    }
    for (text, attempt) in [("never", 1), ("again", 3), ("once", 1)] {
        saw(&seen, text, attempt).await;
    }
    // Nothing is left to be delivered, and nothing came more often than it should.
    for stream in CHAT_STREAMS {
        let mut archive: async_nats::jetstream::consumer::PullConsumer =
            chat.nats().jetstream().get_consumer_from_stream("archive", stream).await.unwrap();
        eventually("all is settled", SOON, async || {
            let info = archive.info().await.ok()?;
            (info.num_ack_pending == 0 && info.num_pending == 0).then_some(())
        })
        .await;
    }
    assert_eq!(seen.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_consumer_goes_on_after_nats_was_killed_and_after_everything_was_wiped() {
    let mut nats = Nats::start().await;
    let chat = with_log(&nats).await;
    let seen = consume(&chat, durable());
    publish(&chat, "before").await;
    saw(&seen, "before", 1).await;
    nats.kill().await;
    nats.start_again().await;
    publish(&chat, "after the kill").await;
    saw(&seen, "after the kill", 1).await;
    nats.wipe_and_start_again().await;
    publish(&chat, "after the wipe").await;
    saw(&seen, "after the wipe", 1).await;
    eventually("all is there", SOON, async || {
        chat.readiness().missing().iter().all(|part| *part == "started").then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_instance_at_a_time_takes_a_stream_and_another_goes_on_when_it_stops() {
    let nats = Nats::start().await;
    let chat = with_log(&nats).await;
    let mut instances = Vec::new();
    for _ in 0..3 {
        let mail = service(&nats, "mail").await;
        let seen = consume(&mail, Durable { name: "notify", one_at_a_time: true, ..durable() });
        instances.push((mail, seen));
    }
    // One who stops is waited for less than for one who has died.
    while !instances.is_empty() {
        for text in ["once", "more", "text", "gone"] {
            publish(&chat, text).await;
        }
        let took = eventually("all is taken", SOON, async || {
            let took: Vec<_> = instances.iter().map(|(_, seen)| seen.lock().unwrap().len()).collect();
            (took.iter().sum::<usize>() == 4).then_some(took)
        })
        .await;
        let who = took.iter().position(|count| *count == 4).unwrap_or_else(|| panic!("taken by several: {took:?}"));
        let (mail, _) = instances.remove(who);
        mail.lifecycle().stop();
        mail.run_until_stopped().await.unwrap();
    }
}
