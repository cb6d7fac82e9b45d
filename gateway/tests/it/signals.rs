//! Typing and receipts, from their buckets to the clients.

use std::time::Duration;

use async_nats::HeaderMap;
use contract::{
    ChatId, Refusal, UserId,
    chat::{ReceiptEntry, ReceiptKind},
    headers, room,
    storage::{READS_BUCKET, TYPING_BUCKET, chat_user_key},
};
use serde_json::{Value, json};
use service::Bucket;
use testkit::socketio::Client;

use crate::world::{Person, SOON, World, chat_json};

/// The buckets of `chat`.
async fn buckets(world: &World) {
    let typing = Bucket::volatile(TYPING_BUCKET, "").with_ttl(Duration::from_secs(10));
    typing.republished("*.*", room::TYPING_REPUBLISH).ensure(&world.chat).await.unwrap();
    Bucket::durable(READS_BUCKET, "").republished("*.*", room::READ_REPUBLISH).ensure(&world.chat).await.unwrap();
}

async fn receipt(world: &World, chat: ChatId, user: UserId, kind: ReceiptKind, entry: (u64, u64), own: bool) {
    let key = chat_user_key(chat, user);
    let before = service::last_values(&world.chat, READS_BUCKET, std::slice::from_ref(&key)).await.unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(headers::EVENT, kind.event());
    if own {
        headers.insert(headers::AUDIENCE, headers::AUDIENCE_OWN);
    }
    let entry = ReceiptEntry { delivered: entry.0, seen: entry.1, ..ReceiptEntry::default() };
    let json = serde_json::to_vec(&entry).unwrap();
    let revision = before.first().map_or(0, |value| value.sequence);
    world.chat.put_with_headers_at(READS_BUCKET, &key, json.into(), headers, revision).await.unwrap();
}

/// Receipts and typing a client heard of, as `[event, user, seq or typing]`.
fn heard(client: &Client) -> Vec<Value> {
    let events = client.events().into_iter().filter_map(|received| match received.event.as_str() {
        "message:delivered" | "message:read" => {
            Some(json!([received.event, received.args[0]["userId"], received.args[0]["seq"]]))
        }
        "typing" => Some(json!(["typing", received.args[0]["userId"], received.args[0]["typing"]])),
        _ => None,
    });
    events.collect()
}

/// Waits for a message that comes after everything before.
async fn settled(world: &World, chat: ChatId, clients: &[&Client]) {
    let cursor = world.append(chat, "message:new", "{}").await;
    for client in clients {
        client.wait("message:new", |args| args[1]["cursor"] == cursor, SOON).await;
    }
}

#[tokio::test]
async fn receipts_and_typing_reach_the_room_once() {
    let world = World::start().await;
    buckets(&world).await;
    let gateway = world.gateway().await;
    let (anna, ben) = (Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna, ben]);
    let (a, phone, b) =
        (world.client(&gateway, anna).await, world.client(&gateway, anna).await, world.client(&gateway, ben).await);

    receipt(&world, chat, anna.id, ReceiptKind::Delivered, (3, 0), false).await;
    receipt(&world, chat, anna.id, ReceiptKind::Read, (3, 2), false).await;
    // The same again, as after a write whose acknowledgement was lost.
    receipt(&world, chat, anna.id, ReceiptKind::Read, (3, 2), false).await;
    receipt(&world, chat, ben.id, ReceiptKind::Read, (5, 5), false).await;
    receipt(&world, chat, anna.id, ReceiptKind::Read, (6, 6), true).await;
    let key = chat_user_key(chat, anna.id);
    for _ in 0..2 {
        world.chat.put(TYPING_BUCKET, &key, "{}".into(), Some(Duration::from_mins(1))).await.unwrap();
    }
    world.chat.delete(TYPING_BUCKET, &key).await.unwrap();
    // Their streams are not ordered among each other.
    b.wait("typing", |args| args[0]["typing"] == false, SOON).await;
    a.wait("message:read", |args| args[0]["seq"] == 6, SOON).await;
    settled(&world, chat, &[&a, &phone, &b]).await;
    let (a_id, b_id) = (json!(anna.id), json!(ben.id));
    let all = [
        json!(["message:delivered", a_id, 3]),
        json!(["message:read", a_id, 2]),
        json!(["message:read", b_id, 5]),
        json!(["message:read", a_id, 6]),
    ];
    assert_eq!(heard(&a), all);
    assert_eq!(heard(&phone), all);
    let mut of_ben = heard(&b);
    of_ben.sort_by_key(|event| event[0] == "typing");
    assert_eq!(of_ben[..3], all[..3]);
    assert_eq!(of_ben[3..], [json!(["typing", a_id, true]), json!(["typing", a_id, false])]);
}

#[tokio::test]
async fn what_was_read_is_said_also_where_only_a_later_delivery_is_heard() {
    let world = World::start().await;
    buckets(&world).await;
    let gateway = world.gateway().await;
    let (anna, ben) = (Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna]);
    let client = world.client(&gateway, anna).await;
    receipt(&world, chat, ben.id, ReceiptKind::Delivered, (5, 3), false).await;
    client.wait("message:read", |args| args[0]["seq"] == 3, SOON).await;
    assert_eq!(heard(&client)[0], json!(["message:delivered", ben.id, 5]));
}

#[tokio::test]
async fn what_changed_while_nats_was_away_is_said_afterwards() {
    let mut world = World::start().await;
    buckets(&world).await;
    let gateway = world.gateway().await;
    let (anna, ben, carl) = (Person::new(), Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna]);
    let client = world.client(&gateway, anna).await;
    receipt(&world, chat, ben.id, ReceiptKind::Read, (3, 3), false).await;
    let key = chat_user_key(chat, ben.id);
    world.chat.put(TYPING_BUCKET, &key, "{}".into(), Some(Duration::from_mins(1))).await.unwrap();
    client.wait("typing", |args| args[0]["typing"] == true, SOON).await;
    client.wait("message:read", |args| args[0]["seq"] == 3, SOON).await;
    let (ben, carl) = (ben.id, carl.id);
    let asked = std::sync::atomic::AtomicU64::new(0);
    world.answer("call.chat.room_state", move |body| {
        assert_eq!(body["typingOnly"], false);
        // Not there at once.
        if asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 0 {
            return Err(Refusal::unavailable("not yet"));
        }
        let receipt = |user: UserId, delivered: u64, seen: u64| {
            json!({ "userId": user, "delivered": delivered, "seen": seen, "deliveredAt": null, "seenAt": null })
        };
        Ok(json!({ "receipts": [receipt(ben, 5, 3), receipt(carl, 4, 4)], "typing": [carl] }))
    });
    world.nats.kill().await;
    world.nats.start_again().await;
    client.wait("typing", |args| args[0]["userId"] == json!(carl), SOON).await;
    client.wait("typing", |args| args[0]["userId"] == json!(ben) && args[0]["typing"] == false, SOON).await;
    assert_eq!(
        heard(&client).into_iter().filter(|event| event[0] != "typing").collect::<Vec<_>>(),
        [json!(["message:read", ben, 3]), json!(["message:delivered", ben, 5]), json!(["message:read", carl, 4])]
    );
}

#[tokio::test]
async fn one_who_typed_before_anybody_listened_stops_for_all_who_know_it() {
    let mut world = World::start().await;
    buckets(&world).await;
    let (anna, ben, carl) = (Person::new(), UserId::new(), UserId::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna]);
    world.chat.put(TYPING_BUCKET, &chat_user_key(chat, ben), "{}".into(), Some(Duration::from_mins(1))).await.unwrap();
    world.answer("call.chat.room_state", move |body| {
        let typing = if body["typingOnly"] == true { vec![ben] } else { Vec::new() };
        Ok(json!({ "receipts": [], "typing": typing }))
    });
    let gateway = world.gateway().await;
    let client = world.client(&gateway, anna).await;
    // One whom not even the gateway has heard of.
    world.chat.delete(TYPING_BUCKET, &chat_user_key(chat, carl)).await.unwrap();
    client.wait("typing", |args| args[0]["userId"] == json!(carl), SOON).await;
    world.nats.kill().await;
    world.nats.start_again().await;
    client.wait("typing", |args| args[0]["userId"] == json!(ben), SOON).await;
    assert_eq!(heard(&client), [json!(["typing", carl, false]), json!(["typing", ben, false])]);
}

#[tokio::test]
async fn who_is_added_is_told_what_was_said_while_the_chat_was_fetched_for_them() {
    let world = World::start().await;
    buckets(&world).await;
    let gateway = world.gateway().await;
    let (anna, ben, carl, dora) = (Person::new(), Person::new(), Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna]);
    let (of_anna, of_ben) = (world.client(&gateway, anna).await, world.client(&gateway, ben).await);
    receipt(&world, chat, anna.id, ReceiptKind::Read, (7, 7), false).await;
    receipt(&world, chat, carl.id, ReceiptKind::Read, (5, 4), false).await;
    receipt(&world, chat, dora.id, ReceiptKind::Read, (9, 9), true).await;
    let minute = Some(Duration::from_mins(1));
    world.chat.put(TYPING_BUCKET, &chat_user_key(chat, carl.id), "{}".into(), minute).await.unwrap();
    world.chat.put(TYPING_BUCKET, &chat_user_key(chat, dora.id), "{}".into(), minute).await.unwrap();
    world.chat.delete(TYPING_BUCKET, &chat_user_key(chat, dora.id)).await.unwrap();
    of_anna.wait("message:read", |args| args[0]["userId"] == json!(carl.id), SOON).await;
    of_anna.wait("typing", |args| args[0]["typing"] == false, SOON).await;

    world.answer("call.chat.get", move |_| {
        let receipt = |user: Person, seq: u64| {
            json!({ "userId": user.id, "delivered": seq, "seen": seq, "deliveredAt": null, "seenAt": null })
        };
        let mut view = chat_json(chat);
        view["receipts"] = json!([receipt(anna, 7), receipt(carl, 3)]);
        view["typing"] = json!([dora.id]);
        Ok(view)
    });
    world.put_member(chat, ben, true, 1).await;
    of_ben.wait("chat:joined", |_| true, SOON).await;
    settled(&world, chat, &[&of_ben]).await;
    let mut told = heard(&of_ben);
    told.sort_by_key(Value::to_string);
    let mut all = [
        json!(["message:delivered", carl.id, 5]),
        json!(["message:read", carl.id, 4]),
        json!(["typing", carl.id, true]),
        json!(["typing", dora.id, false]),
    ];
    all.sort_by_key(Value::to_string);
    assert_eq!(told, all);
}
