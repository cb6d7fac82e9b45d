//! Events from clients.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use contract::{ChatId, Refusal};
use futures::{FutureExt, StreamExt, future::join_all};
use serde_json::{Value, json};

use crate::{
    raw::Raw,
    world::{Person, World, message_json},
};

#[tokio::test]
async fn a_message_is_sent_and_its_stored_json_returned_untouched() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    world.answer("call.chat.send", move |body| {
        assert_eq!(body["actor"]["userId"], json!(person.id));
        assert_eq!(body["actor"]["sessionId"], json!(person.session));
        Ok(json!({ "created": true, "message": { "future": [1.50], "text": body["message"]["text"] } }))
    });
    let client = world.client(&gateway, person).await;
    let payload = json!({ "chatId": chat, "clientId": "c1", "text": "hi", "unknown": 1 });
    let ack = client.request("message:send", payload.clone()).await;
    assert_eq!(ack, json!({ "ok": true, "message": { "future": [1.5], "text": "hi" } }));
    // Without an acknowledgement asked for, it is sent all the same.
    client.emit("message:send", payload);
    assert_eq!(client.request("message:send", json!({})).await["error"]["errors"][0]["field"], "chatId");
}

#[tokio::test]
async fn edits_deletions_and_reactions_answer_the_message() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    for call in ["edit", "delete_message", "add_reaction", "remove_reaction"] {
        world.answer(&format!("call.chat.{call}"), move |body| {
            assert_eq!(body["seq"], 7);
            Ok(message_json(chat, person, call))
        });
    }
    let client = world.client(&gateway, person).await;
    for (event, payload, text) in [
        ("message:edit", json!({ "chatId": chat, "seq": 7, "text": "x" }), "edit"),
        ("message:delete", json!({ "chatId": chat, "seq": 7 }), "delete_message"),
        ("reaction:add", json!({ "chatId": chat, "seq": 7, "emoji": "👍" }), "add_reaction"),
        ("reaction:remove", json!({ "chatId": chat, "seq": 7, "emoji": "👍" }), "remove_reaction"),
    ] {
        let ack = client.request(event, payload).await;
        assert_eq!((&ack["ok"], &ack["message"]["text"]), (&json!(true), &json!(text)), "{ack}");
    }
}

#[tokio::test]
async fn garbage_is_refused_and_hurts_nobody() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let client = world.client(&gateway, Person::new()).await;
    let events =
        ["message:send", "message:edit", "message:delete", "reaction:add", "reaction:remove", "sync", "auth:refresh"];
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let garbage = [
        json!(null),
        json!(1),
        json!("x"),
        json!([]),
        json!({}),
        json!({ "chatId": [], "chats": 1, "token": {} }),
        deep,
    ];
    for event in events {
        for payload in &garbage {
            let ack = client.request(event, payload.clone()).await;
            assert_eq!(ack["ok"], false, "{event} {payload}");
            assert_eq!(ack["error"]["code"], "invalid", "{event} {payload}: {ack}");
            client.emit(event, payload.clone());
        }
    }
    assert_eq!(client.request("no:such", json!({})).await["error"]["code"], "not_found");
    let many: serde_json::Map<String, Value> = (0..1_001).map(|_| (ChatId::new().to_string(), json!(0))).collect();
    assert_eq!(client.request("sync", json!({ "chats": many })).await["error"]["errors"][0]["field"], "chats");
    assert!(client.events_named("disconnect").is_empty());
}

#[tokio::test]
async fn sync_catches_up() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let chat = ChatId::new();
    world.answer("call.chat.sync", move |body| {
        assert_eq!(body["chats"][chat.to_string()], 3);
        let event = json!({ "event": "message:new", "data": { "n": 1 }, "cursor": 5, "prev": 3 });
        Ok(json!({ "chats": { chat.to_string(): { "events": [event], "cursor": 5, "reset": false } } }))
    });
    let client = world.client(&gateway, Person::new()).await;
    let ack = client.request("sync", json!({ "chats": { chat.to_string(): 3 } })).await;
    assert_eq!(ack["ok"], true);
    assert_eq!(ack["chats"][chat.to_string()]["events"][0]["data"]["n"], 1);
}

#[tokio::test]
async fn what_one_client_sends_in_an_order_arrives_in_that_order() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let order = seen.clone();
    world.answer("call.chat.send", move |body| {
        let number: u64 = body["message"]["clientId"].as_str().unwrap().parse().unwrap();
        // Later ones would be faster.
        std::thread::sleep(Duration::from_millis(20_u64.saturating_sub(number)));
        order.lock().unwrap().push(number);
        Ok(json!({ "created": true, "message": {} }))
    });
    let client = world.client(&gateway, Person::new()).await;
    let chat = ChatId::new();
    let send = |number: u64| {
        client.request("message:send", json!({ "chatId": chat, "clientId": number.to_string(), "text": "t" }))
    };
    let acks = join_all((0..30).map(send)).await;
    assert!(acks.iter().all(|ack| ack["ok"] == true), "{acks:?}");
    assert_eq!(*seen.lock().unwrap(), (0..30).collect::<Vec<_>>());
}

#[tokio::test]
async fn nobody_waits_long_in_line_behind_what_is_not_answered() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    world.silence("call.chat.send");
    let mut calls = world.chat.client().subscribe("call.chat.send").await.unwrap();
    world.chat.client().flush().await.unwrap();
    let client = world.client(&gateway, Person::new()).await;
    let chat = ChatId::new();
    let send =
        |n: u64| client.request("message:send", json!({ "chatId": chat, "clientId": n.to_string(), "text": "t" }));
    let acks = join_all((0..5).map(send)).await;
    assert!(acks.iter().all(|ack| ack["error"]["code"] == "unavailable"), "{acks:?}");
    let mut asked = Vec::new();
    while let Some(Some(call)) = calls.next().now_or_never() {
        let body: Value = serde_json::from_slice(&call.payload).unwrap();
        asked.push(body["message"]["clientId"].as_str().unwrap().to_owned());
    }
    assert_eq!(asked, ["0", "0"], "twice for the first one, and not at all for those behind it");
}

#[tokio::test]
async fn too_many_at_a_time_are_rate_limited() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.socket.in_flight = 2).await;
    world.silence("call.chat.sync");
    let client = world.client(&gateway, Person::new()).await;
    let acks = join_all((0..5).map(|_| client.request("sync", json!({ "chats": {} })))).await;
    let code = |code: &str| acks.iter().filter(|ack| ack["error"]["code"] == code).count();
    assert_eq!((code("unavailable"), code("rate_limited")), (2, 3), "{acks:?}");
}

#[tokio::test]
async fn a_call_that_an_instance_did_not_live_to_answer_is_made_again() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    world.silence("call.chat.send");
    let client = world.client(&gateway, Person::new()).await;
    let payload = json!({ "chatId": ChatId::new(), "clientId": "c1", "text": "hi" });
    let revive = async {
        world.left_unanswered("call.chat.send").await;
        world.answer("call.chat.send", |_| Ok(json!({ "created": true, "message": { "n": 1 } })));
    };
    let (ack, ()) = tokio::join!(client.request("message:send", payload.clone()), revive);
    assert_eq!(ack["ok"], true, "{ack}");
    // A refusal is an answer: it is not asked again.
    let calls = Arc::new(Mutex::new(0));
    let count = calls.clone();
    world.answer("call.chat.send", move |_| {
        *count.lock().unwrap() += 1;
        Err(Refusal::unavailable("No."))
    });
    assert_eq!(client.request("message:send", payload).await["error"]["code"], "unavailable");
    assert_eq!(*calls.lock().unwrap(), 1);
}

#[tokio::test]
async fn packets_that_no_client_sends_are_acknowledged_or_end_the_connection() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let bystander = world.client(&gateway, person).await;
    let raw = Raw::connect(&gateway.url, &world.token(person)).await;
    // No payload, many arguments, a binary payload, an event without a name that we know.
    let status = raw.write(&[
        r#"421["message:send"]"#,
        r#"422["sync",{"chats":1},2,[],null]"#,
        r#"451-3["message:send",{"_placeholder":true,"num":0}]"#,
        "bAAEC",
        r#"424["",{}]"#,
        r#"42["message:send",null]"#,
    ]);
    assert_eq!(status.await, 200);
    let mut acks = Vec::new();
    while acks.len() < 4 {
        acks.extend(raw.read().await.into_iter().filter(|packet| packet.starts_with("43")));
    }
    acks.sort();
    for (ack, (id, code)) in acks.iter().zip([(1, "invalid"), (2, "invalid"), (3, "invalid"), (4, "not_found")]) {
        assert!(ack.starts_with(&format!("43{id}[")) && ack.contains(code), "{ack}");
    }
    for garbage in ["42", "42[]", "42{}", "42[1]", "42[\"a\"", "43", "439[]", "45", "451-", "4", "9", "", "é", "42[{}]"]
    {
        let raw = Raw::connect(&gateway.url, &world.token(person)).await;
        let status = raw.write(&[garbage]).await;
        assert!(status < 500, "{garbage}: {status}");
        let raw = Raw::open(&gateway.url).await;
        assert!(raw.write(&[garbage]).await < 500, "{garbage} before connecting");
    }
    let large = "x".repeat(300_000);
    assert_eq!(Raw::connect(&gateway.url, &world.token(person)).await.write(&[&large]).await, 413);
    assert!(bystander.events_named("disconnect").is_empty());
    assert_eq!(bystander.request("no:such", json!({})).await["error"]["code"], "not_found");
}
