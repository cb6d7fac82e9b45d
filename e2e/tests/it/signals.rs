//! Typing, delivered, seen and unread, as two people's devices show them.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{System, SystemOptions, rest::Rest, socketio::Driver};

use crate::sight::{Person, SOON, direct, person};

async fn ask(person: &Person, event: &str, payload: Value) -> Value {
    let ack = person.socket.request(event, payload).await;
    assert_eq!(ack, json!({ "ok": true }), "{event}");
    ack
}

async fn chat(person: &Person, id: &str) -> Value {
    let one = person.rest.get(&format!("/api/chats/{id}")).await.expect(200);
    let list = person.rest.get("/api/chats").await.expect(200);
    assert_eq!(list["chats"].as_array().unwrap().iter().find(|chat| chat["id"] == *id), Some(&one));
    one
}

#[tokio::test]
async fn delivered_and_seen_reach_the_other_and_ones_own_devices() {
    let mut system = System::start(SystemOptions { gateways: 2, chats: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    let id = direct(&anna, &ben).await;
    let phone = driver.connect(&system.gateway(0).url(), &ben.session.access_token).await.unwrap();
    for n in 1..=5 {
        anna.send(&id, &n.to_string(), "hello").await;
    }
    assert_eq!(
        (chat(&ben, &id).await["unread"].clone(), chat(&anna, &id).await["unread"].clone()),
        (json!(5), json!(0))
    );
    ask(&ben, "message:delivered", json!({ "chatId": id, "seq": 5 })).await;
    for socket in [&anna.socket, &phone] {
        let heard = socket.wait("message:delivered", |args| args[0]["seq"] == 5, SOON).await;
        assert_eq!((&heard[0]["chatId"], &heard[0]["userId"]), (&json!(id), &json!(ben.id())));
        assert!(heard[0]["at"].is_string());
    }
    ask(&ben, "message:read", json!({ "chatId": id, "seq": 3 })).await;
    for socket in [&anna.socket, &phone] {
        let heard = socket.wait("message:read", |args| args[0]["userId"] == ben.id(), SOON).await;
        assert_eq!(heard[0]["seq"], 3);
    }
    assert_eq!(chat(&ben, &id).await["unread"], 2);
    // By REST, from another device, and never back.
    ben.rest.post(&format!("/api/messages/{id}/read"), json!({ "seq": 4 })).await.expect(204);
    anna.socket.wait("message:read", |args| args[0]["seq"] == 4, SOON).await;
    phone.request("message:read", json!({ "chatId": id, "seq": 1 })).await;
    assert_eq!(chat(&ben, &id).await["unread"], 1);
    anna.rest.delete(&format!("/api/messages/{id}/5")).await.expect(200);
    assert_eq!(chat(&ben, &id).await["unread"], 0);
    let receipts = chat(&anna, &id).await["receipts"].clone();
    assert_eq!(receipts.as_array().unwrap().len(), 1);
    assert_eq!(
        (&receipts[0]["userId"], &receipts[0]["delivered"], &receipts[0]["seen"]),
        (&json!(ben.id()), &json!(5), &json!(4))
    );
    assert!(receipts[0]["deliveredAt"].is_string() && receipts[0]["seenAt"].is_string());

    for (payload, field) in [
        (json!({ "chatId": id, "seq": 6 }), "seq"),
        (json!({ "chatId": id, "seq": -1 }), "seq"),
        (json!({ "seq": 1 }), "chatId"),
    ] {
        let ack = ben.socket.request("message:read", payload).await;
        assert_eq!((&ack["error"]["code"], &ack["error"]["errors"][0]["field"]), (&json!("invalid"), &json!(field)));
    }
    // All of it survives.
    for (name, index) in [("chat", 0), ("chat", 1)] {
        system.instance(name, index).kill().await;
    }
    system.nats.kill().await;
    system.nats.start_again().await;
    for (name, index) in [("chat", 0), ("chat", 1)] {
        system.start_again(name, index).await;
    }
    assert_eq!(chat(&anna, &id).await["receipts"], receipts);
    assert_eq!(chat(&ben, &id).await["unread"], 0);
}

#[tokio::test]
async fn typing_is_for_members_and_ends_with_the_connection() {
    let system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben, carl, eve) = (
        person(&system, &driver, "anna", 0).await,
        person(&system, &driver, "ben", 1).await,
        person(&system, &driver, "carl", 1).await,
        person(&system, &driver, "eve", 0).await,
    );
    let group = json!({ "type": "group", "name": "Three", "memberIds": [ben.id(), carl.id()] });
    let id = anna.rest.post("/api/chats", group).await.expect(201)["id"].as_str().unwrap().to_owned();
    for member in [&anna, &ben, &carl] {
        member.socket.wait("chat:joined", |args| args[0]["id"] == *id, SOON).await;
    }
    let here = json!({ "chatId": id });
    let refused = eve.socket.request("typing:start", here.clone()).await;
    assert_eq!(refused["error"]["code"], "not_found");
    ask(&ben, "typing:start", here.clone()).await;
    ask(&carl, "typing:start", here.clone()).await;
    for who in [&ben, &carl] {
        let heard = anna.socket.wait("typing", |args| args[0]["userId"] == who.id(), SOON).await;
        assert_eq!(heard, [json!({ "chatId": id, "userId": who.id(), "typing": true })]);
    }
    assert_eq!(chat(&anna, &id).await["typing"].as_array().unwrap().len(), 2);
    ask(&ben, "typing:stop", here.clone()).await;
    anna.socket.wait("typing", |args| args[0]["userId"] == ben.id() && args[0]["typing"] == false, SOON).await;
    // Carl's device dies.
    drop(carl.socket);
    anna.socket
        .wait(
            "typing",
            |args| args[0]["userId"] == *carl.session.user_id && args[0]["typing"] == false,
            Duration::from_secs(9),
        )
        .await;
    // Nobody hears of their own typing.
    assert!(ben.socket.events_named("typing").iter().all(|args| args[0]["userId"] != ben.id()));
    assert!(eve.socket.events_named("typing").is_empty());
    let rest = Rest::new(system.gateway(1).url()).with_token(&ben.session.access_token);
    assert_eq!(rest.get(&format!("/api/chats/{id}")).await.expect(200)["typing"], json!([]));
}
