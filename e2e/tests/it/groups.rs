//! Groups: who is in hears, who is out does not.

use serde_json::json;
use testkit::{System, SystemOptions, socketio::Driver};

use crate::sight::{SOON, assert_chain, person};

#[tokio::test]
async fn members_come_and_go_and_hear_exactly_their_time() {
    let system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let anna = person(&system, &driver, "anna", 0).await;
    let ben = person(&system, &driver, "ben", 1).await;
    let carl = person(&system, &driver, "carl", 1).await;

    let group = json!({ "type": "group", "name": "Garden", "memberIds": [ben.id()] });
    let chat = anna.rest.post("/api/chats", group).await.expect(201);
    let id = chat["id"].as_str().unwrap().to_owned();
    assert_eq!(chat["members"].as_array().unwrap().len(), 2);
    ben.socket.wait("chat:joined", |args| args[0]["id"] == *id && args[0]["name"] == "Garden", SOON).await;

    assert_eq!(carl.rest.get(&format!("/api/chats/{id}")).await.expect(404)["code"], "not_found");
    anna.send(&id, "a1", "before carl").await;
    let add = json!({ "userIds": [carl.id()] });
    assert_eq!(ben.rest.post(&format!("/api/chats/{id}/members"), add.clone()).await.expect(403)["code"], "forbidden");
    let chat = anna.rest.post(&format!("/api/chats/{id}/members"), add).await.expect(200);
    assert_eq!(chat["members"].as_array().unwrap().len(), 3);
    carl.socket.wait("chat:joined", |args| args[0]["id"] == *id, SOON).await;
    ben.socket.wait("chat:members", |args| args[0]["change"]["added"][0]["userId"] == carl.id(), SOON).await;
    anna.send(&id, "a2", "with carl").await;
    carl.socket.wait("message:new", |args| args[0]["clientId"] == "a2", SOON).await;

    let rename = anna.rest.patch(&format!("/api/chats/{id}"), json!({ "name": "Yard" })).await.expect(200);
    assert_eq!(rename["name"], "Yard");
    carl.socket.wait("chat:updated", |args| args[0]["name"] == "Yard", SOON).await;

    anna.rest.delete(&format!("/api/chats/{id}/members/{}", carl.id())).await.expect(204);
    carl.socket.wait("chat:left", |args| args[0]["chatId"] == *id, SOON).await;
    anna.send(&id, "a3", "without carl").await;
    ben.socket.wait("message:new", |args| args[0]["clientId"] == "a3", SOON).await;
    assert_eq!(carl.rest.get(&format!("/api/messages/{id}")).await.expect(404)["code"], "not_found");
    assert_eq!(carl.send(&id, "c1", "hello?").await["error"]["code"], "not_found");

    // The owner leaves; ben inherits and ends it.
    anna.rest.post(&format!("/api/chats/{id}/leave"), json!({})).await.expect(204);
    ben.socket.wait("chat:members", |args| args[0]["change"]["roles"][0]["role"] == "owner", SOON).await;
    ben.rest.delete(&format!("/api/chats/{id}")).await.expect(204);
    ben.socket.wait("chat:deleted", |args| args[0]["chatId"] == *id, SOON).await;
    assert_eq!(ben.rest.get("/api/chats").await.expect(200)["chats"], json!([]));

    assert_eq!(carl.seen(&id).iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["with carl"]);
    assert_chain(&ben, &id);
}

#[tokio::test]
async fn messages_are_edited_deleted_and_reacted_to() {
    let system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    let chat = crate::sight::direct(&anna, &ben).await;
    anna.send(&chat, "1", "frist").await;

    let edited = anna.socket.request("message:edit", json!({ "chatId": chat, "seq": 1, "text": "first" })).await;
    assert_eq!(edited["message"]["text"], "first", "{edited}");
    let heard = ben.socket.wait("message:edited", |args| args[0]["seq"] == 1, SOON).await;
    assert_eq!(heard[0]["text"], "first");
    let refused = ben.socket.request("message:edit", json!({ "chatId": chat, "seq": 1, "text": "mine" })).await;
    assert_eq!(refused["error"]["code"], "forbidden");

    let thumb = json!({ "chatId": chat, "seq": 1, "emoji": "👍" });
    let ack = ben.socket.request("reaction:add", thumb.clone()).await;
    assert_eq!(ack["message"]["reactions"]["👍"], json!([ben.id()]), "{ack}");
    anna.socket.wait("reaction:added", |args| args[0]["userId"] == ben.id(), SOON).await;
    ben.socket.request("reaction:remove", thumb).await;
    anna.socket.wait("reaction:removed", |args| args[0]["emoji"] == "👍", SOON).await;
    let path = format!("/api/messages/{chat}/1");
    let put = anna.rest.put(&format!("{path}/reactions/%F0%9F%8E%89"), json!(null)).await.expect(200);
    assert_eq!(put["reactions"], json!({ "🎉": [anna.id()] }));

    anna.rest.delete(&path).await.expect(200);
    ben.socket.wait("message:deleted", |args| args[0]["seq"] == 1, SOON).await;
    let history = ben.rest.get(&format!("/api/messages/{chat}")).await.expect(200);
    assert_eq!(history["messages"][0]["text"], "");
    assert!(history["messages"][0]["deletedAt"].is_string());
    assert_chain(&ben, &chat);
}
