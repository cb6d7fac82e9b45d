//! The main job: two people, two gateways, every message once and in order.

use std::collections::BTreeSet;

use futures::future::join_all;
use serde_json::json;
use testkit::{System, SystemOptions, eventually, rest::Rest, socketio::Driver};

use crate::sight::{SOON, assert_chain, direct, person};

#[tokio::test]
async fn a_thousand_messages_in_both_directions_over_two_gateways() {
    let system = System::start(SystemOptions { gateways: 2, chats: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    let chat = direct(&anna, &ben).await;

    let send = async |person: &crate::sight::Person, name: &str| {
        for n in 0..500 {
            let ack = person.send(&chat, &format!("{name}-{n}"), &format!("{name} {n}")).await;
            assert_eq!(ack["ok"], true, "{ack}");
            assert_eq!(ack["message"]["clientId"], format!("{name}-{n}"));
        }
    };
    tokio::join!(send(&anna, "anna"), send(&ben, "ben"));

    for person in [&anna, &ben] {
        eventually("all have arrived", SOON, async || (person.seen(&chat).len() >= 1_000).then_some(())).await;
        let seen = person.seen(&chat);
        assert_eq!(seen.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=1_000).collect::<Vec<_>>());
        assert_eq!(seen.iter().map(|(_, text)| text).collect::<BTreeSet<_>>().len(), 1_000);
        assert_eq!(person.history(&chat).await, seen);
        assert_chain(person, &chat);
    }
    // Each one's own messages in the order they were sent.
    let annas: Vec<_> = anna.seen(&chat).into_iter().filter(|(_, text)| text.starts_with("anna")).collect();
    assert!(annas.iter().enumerate().all(|(n, (_, text))| *text == format!("anna {n}")));
    // What was acknowledged is in MongoDB a moment later.
    let messages = system.mongo.connect().await;
    eventually("MongoDB has all", SOON, async || {
        let count = messages.collection::<serde_json::Value>("messages").count_documents(mongodb::bson::doc! {}).await;
        (count.unwrap() == 1_000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_same_client_id_in_parallel_over_both_gateways_is_one_message() {
    let system = System::start(SystemOptions { gateways: 2, chats: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    let chat = direct(&anna, &ben).await;
    let other = Rest::new(system.gateway(1).url()).with_token(&anna.session.access_token);

    let message = json!({ "chatId": chat, "clientId": "one", "text": "only once" });
    let answers = join_all((0..50).map(|n| {
        let rest = if n % 2 == 0 { &anna.rest } else { &other };
        rest.post("/api/messages", message.clone())
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 49);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    // Also over the socket.
    let ack = anna.send(&chat, "one", "only once").await;
    assert_eq!(ack["message"], answers[0].body);
    // A message after it: what would have come twice would have come by then.
    anna.send(&chat, "two", "the next").await;
    for person in [&anna, &ben] {
        person.socket.wait("message:new", |args| args[0]["clientId"] == "two", SOON).await;
        assert_eq!(person.seen(&chat), [(1, "only once".to_owned()), (2, "the next".to_owned())]);
        assert_eq!(person.history(&chat).await, person.seen(&chat));
    }
}

#[tokio::test]
async fn a_direct_chat_opened_from_two_gateways_at_once_is_one() {
    let system = System::start(SystemOptions { gateways: 2, chats: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    let answers = join_all((0..10).map(|n| {
        let (me, other) = if n % 2 == 0 { (&anna, &ben) } else { (&ben, &anna) };
        me.rest.post("/api/chats", json!({ "type": "direct", "userId": other.id() }))
    }))
    .await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 9);
    assert!(answers.iter().all(|answer| answer.body["id"] == answers[0].body["id"]));
    for person in [&anna, &ben] {
        person.socket.wait("chat:joined", |args| args[0]["id"] == answers[0].body["id"], SOON).await;
        assert_eq!(person.rest.get("/api/chats").await.expect(200)["chats"].as_array().unwrap().len(), 1);
        assert_eq!(person.socket.events_named("chat:joined").len(), 1);
    }
}

#[tokio::test]
async fn a_client_that_was_away_catches_up_by_sync() {
    let system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    let chat = direct(&anna, &ben).await;
    anna.send(&chat, "1", "before").await;
    let met = ben.socket.wait("message:new", |args| args[0]["clientId"] == "1", SOON).await;
    ben.socket.disconnect();
    for n in 2..=20 {
        anna.send(&chat, &n.to_string(), "meanwhile").await;
    }
    // Back at another gateway.
    let again = driver.connect(&system.gateway(0).url(), &ben.session.access_token).await.unwrap();
    let ack = again.request("sync", json!({ "chats": { &chat: met[1]["cursor"] } })).await;
    assert_eq!(ack["ok"], true, "{ack}");
    let events = ack["chats"][&chat]["events"].as_array().unwrap();
    let seqs: Vec<u64> = events.iter().map(|event| event["data"]["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (2..=20).collect::<Vec<_>>());
    assert_eq!(events[0]["prev"], met[1]["cursor"]);
    assert_eq!(ack["chats"][&chat]["cursor"], events[18]["cursor"]);
    // And is in its rooms again.
    anna.send(&chat, "21", "after").await;
    let live = again.wait("message:new", |args| args[0]["clientId"] == "21", SOON).await;
    assert_eq!(live[1]["prev"], events[18]["cursor"]);
    let rest = ben.rest.get(&format!("/api/chats/{chat}/events?after={}", met[1]["cursor"])).await.expect(200);
    assert_eq!(rest["events"].as_array().unwrap().len(), 20);
    assert_eq!(rest["reset"], false);
}

#[tokio::test]
async fn a_thousand_missed_events_come_page_by_page() {
    let system = System::start(SystemOptions::default()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = direct(&anna, &ben).await;
    let start = ben.rest.get(&format!("/api/chats/{chat}")).await.expect(200)["cursor"].clone();
    ben.socket.disconnect();
    for some in 0..40 {
        let sends = (0..25).map(|n| anna.send_owned(&chat, format!("{some}-{n}")));
        assert!(join_all(sends).await.iter().all(|ack| ack["ok"] == true));
    }
    let away = std::time::Instant::now();
    let again = driver.connect(&system.gateway(0).url(), &ben.session.access_token).await.unwrap();
    let connected = away.elapsed();
    let (mut cursor, mut seqs, mut questions) = (start, Vec::new(), 0);
    loop {
        let ack = again.request("sync", json!({ "chats": { &chat: cursor } })).await;
        questions += 1;
        let page = &ack["chats"][&chat];
        assert_eq!(page["reset"], false, "{ack}");
        seqs.extend(page["events"].as_array().unwrap().iter().map(|event| event["data"]["seq"].as_u64().unwrap()));
        cursor = page["cursor"].clone();
        if page["hasMore"] == false {
            break;
        }
    }
    println!(
        "connected after {connected:.0?}, caught up with 1,000 events in {questions} questions after {:.0?}",
        away.elapsed()
    );
    assert_eq!(seqs, (1..=1_000).collect::<Vec<_>>());
}
