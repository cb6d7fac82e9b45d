//! What dies, dies under load; what was acknowledged stays.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use e2e::{
    fault,
    run::{Options, Run},
};
use serde_json::{Value, json};
use testkit::{System, SystemOptions, eventually, rest::Rest, socketio::Driver};
use tokio::task::JoinHandle;

use crate::sight::{Person, SOON, assert_chain, direct, person};

/// Sends until told to stop, retrying what was not acknowledged; remembers what was.
struct Load {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Sent>,
}

#[derive(Default)]
struct Sent {
    acknowledged: Vec<String>,
    /// Codes of refusals that were then retried, but for being told to be slower.
    refused: Vec<String>,
}

impl Load {
    fn start(person: &Person, name: &'static str, chat: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, rest, chat) = (stop.clone(), person.rest.clone(), chat.to_owned());
        let task = tokio::spawn(async move {
            let mut sent = Sent::default();
            while !stopped.load(Ordering::Relaxed) {
                let text = format!("{name}-{}", sent.acknowledged.len());
                let message = json!({ "chatId": chat, "clientId": text, "text": text });
                let answer = rest.post("/api/messages", message).await;
                match answer.status {
                    200 | 201 => sent.acknowledged.push(text),
                    // A quick machine sends more in these seconds than one person may.
                    429 => tokio::time::sleep(answer.retry_after()).await,
                    _ => sent.refused.push(answer.code().to_owned()),
                }
            }
            sent
        });
        Self { stop, task }
    }

    async fn finish(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}

/// Every acknowledged message is in history once, and everybody's socket saw what history says.
async fn assert_nothing_lost(people: [&Person; 2], chat: &str, sent: &[Sent]) {
    let history = people[0].history(chat).await;
    assert_eq!(history.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=history.len() as u64).collect::<Vec<_>>());
    let texts: BTreeSet<&String> = history.iter().map(|(_, text)| text).collect();
    assert_eq!(texts.len(), history.len(), "a message is doubled");
    for text in sent.iter().flat_map(|sent| &sent.acknowledged) {
        assert!(texts.contains(text), "{text} was acknowledged and is lost");
    }
    for person in people {
        eventually("the socket saw all", SOON, async || (person.seen(chat).len() >= history.len()).then_some(())).await;
        assert_eq!(person.seen(chat), history);
        assert_chain(person, chat);
    }
}

async fn wait_for_messages(person: &Person, chat: &str, count: usize) {
    eventually("messages under load", SOON, async || (person.seen(chat).len() >= count).then_some(())).await;
}

#[tokio::test]
async fn mongodb_away_for_ten_seconds_under_load_stops_nobody() {
    let system = System::start(SystemOptions { gateways: 2, own_mongo: true, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    let chat = direct(&anna, &ben).await;
    let loads = [Load::start(&anna, "anna", &chat), Load::start(&ben, "ben", &chat)];
    wait_for_messages(&anna, &chat, 50).await;

    system.mongo.stop().await;
    let stopped = Instant::now();
    // A client that connects now is in its rooms and reads what is recent.
    let url = system.gateway(0).url();
    let again = driver.connect(&url, &ben.session.access_token).await.unwrap();
    again.wait("message:new", |args| args[0]["chatId"] == *chat, SOON).await;
    let recent = ben.rest.get(&format!("/api/messages/{chat}?limit=20")).await.expect(200);
    assert_eq!(recent["messages"].as_array().unwrap().len(), 20);
    // What needs MongoDB says so, and soon.
    let asked = Instant::now();
    let refused = eventually("login says unavailable", SOON, async || {
        let answer = Rest::new(&url)
            .post("/api/auth/login", json!({ "email": "anna@example.org", "password": "12345678" }))
            .await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert_eq!(refused.code(), "unavailable");
    assert!(refused.retry_after() > Duration::ZERO);
    assert!(asked.elapsed() < Duration::from_secs(10));
    // The time itself is what is tested: ten seconds without MongoDB.
    tokio::time::sleep_until((stopped + Duration::from_secs(10)).into()).await;
    let seen = anna.seen(&chat).len();
    wait_for_messages(&anna, &chat, seen + 50).await;
    system.mongo.start_again().await;

    let mut sent = Vec::new();
    for load in loads {
        sent.push(load.finish().await);
    }
    let refused: Vec<_> = sent.iter().flat_map(|sent| &sent.refused).collect();
    assert!(refused.is_empty(), "sends go on: {refused:?}");
    assert_nothing_lost([&anna, &ben], &chat, &sent).await;
    let count: usize = anna.history(&chat).await.len();
    let database = system.mongo.connect().await;
    eventually("MongoDB has everything", Duration::from_secs(40), async || {
        let archived = database.collection::<Value>("messages").count_documents(mongodb::bson::doc! {}).await.ok()?;
        (archived == count as u64).then_some(())
    })
    .await;
}

/// Each fault under load, one after the other, and then the check of all that was written.
async fn one_after_the_other(nodes: usize, names: &[&str], lasting: Duration) {
    let faults = fault::all_named(names);
    let mut run = Run::start(Options { faults: faults.clone(), nodes, ..Options::default() }).await;
    for fault in faults {
        run.under(fault, 0, lasting).await;
    }
    run.assert_right().await;
}

#[tokio::test]
async fn a_service_killed_under_load_loses_nothing() {
    one_after_the_other(1, &["chat-kill", "gateway-kill", "user-kill", "mail-kill"], Duration::from_secs(1)).await;
}

/// Longer than the gateway waits for an answer before it asks another instance.
#[tokio::test]
async fn a_service_that_hangs_and_answers_late_loses_and_doubles_nothing() {
    one_after_the_other(1, &["chat-pause", "gateway-pause", "user-pause"], Duration::from_secs(4)).await;
}

/// The others go on, so that it has missed something when it is back.
#[tokio::test]
async fn a_service_without_its_connection_to_nats_under_load_loses_nothing() {
    let names = ["gateway-cut", "gateway-deaf", "chat-cut", "chat-deaf", "user-cut", "mail-cut"];
    one_after_the_other(1, &names, Duration::from_secs(4)).await;
}

#[tokio::test]
async fn a_service_restarted_under_load_loses_nothing() {
    one_after_the_other(1, &["chat-restart", "gateway-restart"], Duration::ZERO).await;
}

/// A rolling restart: connections end and begin again, and nothing else is to be seen of it.
#[tokio::test]
async fn all_services_restarted_one_by_one_under_load_refuse_nobody() {
    let mut run = Run::start(Options::default()).await;
    let restarts = [("chat", 2), ("user", 1), ("mail", 1), ("gateway", 2)];
    for (name, instances) in restarts {
        for which in 0..instances {
            let fault = fault::named(&format!("{name}-restart")).unwrap();
            run.under(fault, which, Duration::ZERO).await;
        }
    }
    run.assert_right().await;
    let counts = run.world.counts();
    assert!(!["unavailable", "rate_limited", "internal"].iter().any(|code| counts.contains(code)), "{counts}");
}

#[tokio::test]
async fn nats_killed_and_hanging_under_load_loses_nothing() {
    one_after_the_other(1, &["nats-kill", "nats-pause"], Duration::from_secs(2)).await;
}

/// A store that was closed in order, written to and then not closed.
#[tokio::test]
async fn nats_stopped_and_then_killed_under_load_loses_nothing() {
    one_after_the_other(1, &["nats-restart", "nats-kill", "nats-kill"], Duration::from_millis(500)).await;
}

#[tokio::test]
async fn mongodb_killed_stopped_and_hanging_under_load_loses_nothing() {
    one_after_the_other(1, &["mongo-kill", "mongo-stop", "mongo-pause"], Duration::from_secs(3)).await;
}

/// Instances that race for a number in a cluster lose in another way than on a single node.
#[tokio::test]
async fn nobody_is_refused_in_a_cluster_in_which_nothing_is_wrong() {
    let mut run = Run::start(Options { nodes: 3, ..Options::default() }).await;
    run.calm(Duration::from_secs(4)).await;
    run.assert_right().await;
    assert!(!run.world.counts().contains("unavailable"), "{}", run.world.counts());
}

#[tokio::test]
async fn one_of_three_nodes_killed_or_apart_under_load_loses_nothing() {
    one_after_the_other(3, &["node-kill", "node-partition", "node-cut"], Duration::from_secs(8)).await;
}

#[tokio::test]
async fn all_nodes_restarted_under_load_lose_nothing() {
    one_after_the_other(3, &["nodes-rolling", "nodes-restart", "nodes-kill"], Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_slow_mongodb_and_a_full_store_under_load_lose_nothing() {
    one_after_the_other(1, &["mongo-slow", "store-full"], Duration::from_secs(4)).await;
}

#[tokio::test]
async fn dead_sockets_and_jumping_clocks_under_load_lose_nothing() {
    one_after_the_other(1, &["sockets-dead", "sockets-cut", "clock"], Duration::from_secs(3)).await;
}
