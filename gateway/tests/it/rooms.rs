//! From the log to the clients.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use contract::{
    ChatId, Refusal,
    event::Cursor,
    storage::{log_stream, log_subject},
};
use futures::future::join_all;
use serde_json::{Value, json};
use testkit::{eventually, socketio::Client};
use tokio::time::timeout;

use crate::world::{Person, SOON, World, message_json};

/// `{cursor, prev}` of the log events a client got of this name.
fn positions(client: &Client, event: &str) -> Vec<(Cursor, Cursor)> {
    let at = |args: &Vec<Value>| (args[1]["cursor"].as_u64().unwrap(), args[1]["prev"].as_u64().unwrap());
    client.events_named(event).iter().map(at).collect()
}

#[tokio::test]
async fn events_reach_every_member_on_every_gateway_once_and_in_order() {
    let world = World::start().await;
    let (one, other) = (world.gateway().await, world.gateway().await);
    let (anna, ben, carl) = (Person::new(), Person::new(), Person::new());
    let (chat, empty) = (ChatId::new(), ChatId::new());
    world.join_quietly(chat, &[anna, ben]);
    let clients = [
        world.client(&one, anna).await,
        world.client(&other, anna).await,
        world.client(&other, ben).await,
        world.driver.connect_polling(&one.url, &world.token(ben)).await.unwrap(),
    ];
    let stranger = world.client(&one, carl).await;

    let mut expected = Vec::new();
    let mut prev = 0;
    for number in 0..50 {
        world.append(empty, "message:new", "{}").await;
        let cursor = world.append(chat, "message:new", &json!({ "text": "é👍", "number": number }).to_string()).await;
        expected.push((cursor, prev));
        prev = cursor;
    }
    for client in &clients {
        client.wait("message:new", |args| args[0]["number"] == 49, SOON).await;
        assert_eq!(positions(client, "message:new"), expected);
        assert_eq!(client.events_named("message:new")[0][0]["text"], "é👍");
    }
    assert!(stranger.events_named("message:new").is_empty());
}

/// Large enough for a rest after each fan-out, during which events gather.
#[tokio::test]
async fn a_large_room_gets_what_gathered_once_in_order_and_only_its_members() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (anna, ben, chat) = (Person::new(), Person::new(), ChatId::new());
    world.join_quietly(chat, &[anna, ben]);
    let devices = join_all((0..60).map(|_| world.client(&gateway, anna))).await;
    let removed = world.client(&gateway, ben).await;

    let mut expected = Vec::new();
    for number in 0..30 {
        expected.push(world.append(chat, "message:new", &json!({ "number": number }).to_string()).await);
        if number == 14 {
            world.append_with(chat, "chat:members", r#"{"change":{}}"#, &[ben]).await;
        }
    }
    let cursors = |client: &Client| -> Vec<Cursor> {
        positions(client, "message:new").into_iter().map(|(cursor, _)| cursor).collect()
    };
    for client in &devices {
        client.wait("message:new", |args| args[0]["number"] == 29, SOON).await;
        assert_eq!(cursors(client), expected);
    }
    removed.wait("chat:left", |args| args[0]["chatId"] == chat.to_string(), SOON).await;
    assert_eq!(cursors(&removed), expected[..15]);
}

#[tokio::test]
async fn a_gap_is_filled_from_the_log() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    world.join_quietly(chat, &[person]);
    let client = world.client(&gateway, person).await;
    let first = world.append(chat, "message:new", r#"{"n":1}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 1, SOON).await;

    world.republish(false).await;
    let second = world.append(chat, "message:edited", r#"{"n":2}"#).await;
    let third = world.append(chat, "message:new", r#"{"n":3}"#).await;
    world.republish(true).await;
    let fourth = world.append(chat, "message:new", r#"{"n":4}"#).await;

    client.wait("message:new", |args| args[0]["n"] == 4, SOON).await;
    assert_eq!(positions(&client, "message:edited"), [(second, first)]);
    assert_eq!(positions(&client, "message:new"), [(first, 0), (third, second), (fourth, third)]);
    let order: Vec<_> = client.events().iter().filter_map(|event| event.args.first()?["n"].as_u64()).collect();
    assert_eq!(order, [1, 2, 3, 4]);
}

#[tokio::test]
async fn what_happened_while_nats_was_away_is_found_without_a_further_event() {
    let mut world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    world.join_quietly(chat, &[person]);
    let client = world.client(&gateway, person).await;
    world.append(chat, "message:new", r#"{"n":1}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 1, SOON).await;
    world.republish(false).await;
    world.append(chat, "message:new", r#"{"n":2}"#).await;
    world.nats.stop().await;
    world.nats.start_again().await;
    client.wait("message:new", |args| args[0]["n"] == 2, SOON).await;
    assert_eq!(client.events_named("message:new").len(), 2);
}

/// A copy of the bucket of memberships that is behind knows of no chat that somebody is in.
#[tokio::test]
async fn who_was_removed_while_nats_was_away_hears_of_it_and_nobody_leaves_for_a_list_that_is_behind() {
    let mut world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let (stays, left) = (ChatId::new(), ChatId::new());
    world.join_quietly(stays, &[person]);
    world.join_quietly(left, &[person]);
    let client = world.client(&gateway, person).await;
    world.append(left, "message:new", r#"{"n":1}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 1, SOON).await;
    world.answer("call.chat.rooms", |_| Ok(json!({ "chatIds": [] })));
    world.answer("call.chat.get", move |body| {
        let still = body["chatId"] == json!(stays);
        still.then(|| crate::world::chat_json(stays)).ok_or_else(|| Refusal::not_found("chat"))
    });
    world.nats.stop().await;
    world.nats.start_again().await;
    client.wait("chat:left", |args| args[0]["chatId"] == json!(left), SOON).await;
    world.append(stays, "message:new", r#"{"n":2}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 2, SOON).await;
    assert_eq!(client.events_named("chat:left").len(), 1);
}

#[tokio::test]
async fn who_is_removed_gets_that_event_and_nothing_after_it() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (anna, ben) = (Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna, ben]);
    let (of_anna, of_ben) = (world.client(&gateway, anna).await, world.client(&gateway, ben).await);

    let removal = world.append_with(chat, "chat:members", r#"{"change":{}}"#, &[ben]).await;
    world.append(chat, "message:new", r#"{"n":1}"#).await;
    // The archive says so later, as does an older entry that was on its way.
    world.put_member(chat, ben, true, removal - 1).await;
    world.put_member(chat, ben, false, removal).await;
    world.append(chat, "message:new", r#"{"n":2}"#).await;

    of_anna.wait("message:new", |args| args[0]["n"] == 2, SOON).await;
    of_ben.wait("chat:left", |args| args[0] == json!({ "chatId": chat }), SOON).await;
    // Something that comes after all of the above.
    let other = ChatId::new();
    world.put_member(other, ben, true, 1).await;
    of_ben.wait("chat:joined", |args| args[0]["id"] == json!(other), SOON).await;
    let names: Vec<_> = of_ben.events().iter().map(|event| event.event.clone()).collect();
    assert_eq!(names, ["connect", "chat:members", "chat:left", "chat:joined"]);
}

/// While a socket asks what rooms it is to be in, its user's other news is that they are in one of them.
#[tokio::test]
async fn who_connects_while_memberships_are_compared_hears_of_a_chat_once() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (person, chat) = (Person::new(), ChatId::new());
    world.join_quietly(chat, &[person]);
    world.silence("call.chat.rooms");
    world.silence("call.chat.get");
    let client = world.driver.open(&gateway.url, &world.token(person));
    world.left_unanswered("call.chat.rooms").await;
    world.put_member(chat, person, true, 1).await;
    // Nobody may ask for the chat; what does is given the time for it.
    let _ = timeout(Duration::from_secs(1), world.left_unanswered("call.chat.get")).await;
    world.answer("call.chat.rooms", move |_| Ok(json!({ "chatIds": [chat] })));
    client.wait("connect", |_| true, SOON).await;
    world.answer("call.chat.get", |body| {
        let asked: ChatId = serde_json::from_value(body["chatId"].clone()).unwrap();
        Ok(crate::world::chat_json(asked))
    });
    // Something that comes after all of the above.
    let other = ChatId::new();
    world.put_member(other, person, true, 1).await;
    client.wait("chat:joined", |args| args[0]["id"] == json!(other), SOON).await;
    let names: Vec<_> = client.events().iter().map(|event| event.event.clone()).collect();
    assert_eq!(names, ["connect", "chat:joined"]);
}

#[tokio::test]
async fn who_is_added_gets_the_chat_and_then_its_events() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let ben = Person::new();
    let clients = [world.client(&gateway, ben).await, world.client(&gateway, ben).await];
    let chat = ChatId::new();
    let before = world.append(chat, "chat:created", r#"{"n":0}"#).await;
    world.answer("call.chat.get", move |_| {
        let mut view = crate::world::chat_json(chat);
        view["cursor"] = before.into();
        Ok(view)
    });
    world.put_member(chat, ben, true, before).await;
    for client in &clients {
        client.wait("chat:joined", |args| args[0]["id"] == json!(chat), SOON).await;
    }
    let after = world.append(chat, "message:new", r#"{"n":1}"#).await;
    for client in &clients {
        client.wait("message:new", |_| true, SOON).await;
        assert_eq!(positions(client, "message:new"), [(after, before)]);
        assert!(client.events_named("chat:created").is_empty());
    }
    // Only a setting changed: nothing to tell.
    world.put_member(chat, ben, true, before).await;
    world.append(chat, "message:new", r#"{"n":2}"#).await;
    clients[0].wait("message:new", |args| args[0]["n"] == 2, SOON).await;
    assert_eq!(clients[0].events_named("chat:joined").len(), 1);
}

#[tokio::test]
async fn who_comes_into_a_room_that_is_behind_hears_nothing_twice() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (anna, ben) = (Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna]);
    let (there, comes) = (world.client(&gateway, anna).await, world.client(&gateway, ben).await);
    let known = world.append(chat, "message:new", r#"{"n":0}"#).await;
    there.wait("message:new", |args| args[0]["n"] == 0, SOON).await;
    world.republish(false).await;
    let unheard = world.append(chat, "message:new", r#"{"n":1}"#).await;
    world.republish(true).await;
    world.answer("call.chat.get", move |_| {
        let mut view = crate::world::chat_json(chat);
        view["cursor"] = unheard.into();
        Ok(view)
    });
    world.put_member(chat, ben, true, unheard).await;
    comes.wait("chat:joined", |args| args[0]["id"] == json!(chat), SOON).await;
    let after = world.append(chat, "message:new", r#"{"n":2}"#).await;
    comes.wait("message:new", |args| args[0]["n"] == 2, SOON).await;
    there.wait("message:new", |args| args[0]["n"] == 2, SOON).await;
    assert_eq!(positions(&there, "message:new")[1..], [(unheard, known), (after, unheard)]);
    assert_eq!(positions(&comes, "message:new"), [(after, unheard)]);
}

/// In a cluster a copy of the log that has not caught up may answer.
#[tokio::test]
async fn a_gap_is_not_filled_from_a_log_that_ends_within_it() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let anna = Person::new();
    let chat = ChatId::new();
    world.join_quietly(chat, &[anna]);
    let client = world.client(&gateway, anna).await;
    let known = world.append(chat, "message:new", r#"{"n":1}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 1, SOON).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let asked_here = asked.clone();
    world.answer("call.chat.read_log", move |body| {
        let caught_up = asked_here.fetch_add(1, Ordering::Relaxed) >= 2;
        let missed = json!([{ "event": "message:new", "data": { "n": 2 }, "cursor": known + 1, "prev": known }]);
        let events = if caught_up && body["after"] == known { missed } else { json!([]) };
        Ok(json!({ "events": events, "cursor": if caught_up { known + 2 } else { known }, "reset": false }))
    });
    world.republish(false).await;
    world.append(chat, "message:new", r#"{"n":2}"#).await;
    world.republish(true).await;
    let last = world.append(chat, "message:new", r#"{"n":3}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 3, SOON).await;
    assert_eq!(positions(&client, "message:new")[1..], [(known + 1, known), (last, known + 1)]);
    assert!(asked.load(Ordering::Relaxed) > 2);
}

/// A gateway that hung hears late what `chat` has long answered of.
#[tokio::test]
async fn who_comes_into_a_room_that_has_emitted_nothing_hears_only_what_is_new() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    for others in [0, 1] {
        let (anna, ben) = (Person::new(), Person::new());
        let chat = ChatId::new();
        // Another chat of the same stream, so that it is known where this one's events will be.
        let neighbour = std::iter::repeat_with(ChatId::new).find(|one| log_stream(*one) == log_stream(chat)).unwrap();
        let seen = world.append(neighbour, "message:new", "{}").await + 2;
        world.join_quietly(chat, &[anna][..others]);
        let (there, comes) = (world.client(&gateway, anna).await, world.client(&gateway, ben).await);
        world.answer("call.chat.get", move |_| {
            let mut view = crate::world::chat_json(chat);
            view["cursor"] = seen.into();
            Ok(view)
        });
        world.put_member(chat, ben, true, seen).await;
        comes.wait("chat:joined", |args| args[0]["id"] == json!(chat), SOON).await;
        for n in 1..=2 {
            world.append(chat, "message:new", &json!({ "n": n }).to_string()).await;
        }
        if others > 0 {
            there.wait("message:new", |args| args[0]["n"] == 2, SOON).await;
        }
        let new = world.append(chat, "message:new", r#"{"n":3}"#).await;
        comes.wait("message:new", |args| args[0]["n"] == 3, SOON).await;
        assert_eq!(positions(&comes, "message:new"), [(new, seen)]);
        assert_eq!(there.events_named("message:new").len(), 3 * others);
    }
}

#[tokio::test]
async fn a_deleted_chat_empties_its_room() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    world.join_quietly(chat, &[person]);
    let client = world.client(&gateway, person).await;
    world.append(chat, "chat:deleted", &json!({ "chatId": chat }).to_string()).await;
    client.wait("chat:deleted", |_| true, SOON).await;
    let rooms = format!("{}/subsz?subs=1", world.nats.monitor_url());
    // Without the last token, which the server writes as "\u003e".
    let wanted = format!("room.{chat}.");
    eventually("the room to be closed", SOON, async || {
        let body = reqwest::get(&rooms).await.ok()?.text().await.ok()?;
        (!body.contains(&wanted)).then_some(())
    })
    .await;
    assert!(client.events_named("chat:left").is_empty());
}

#[tokio::test]
async fn a_room_is_subscribed_to_only_while_somebody_is_in_it() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    world.join_quietly(chat, &[person]);
    let subscriptions = format!("{}/subsz?subs=1", world.nats.monitor_url());
    // Without the last token, which the server writes as "\u003e".
    let wanted = format!("room.{chat}.");
    let subscribed = async || reqwest::get(&subscriptions).await.unwrap().text().await.unwrap().contains(&wanted);
    for _ in 0..3 {
        let clients = [world.client(&gateway, person).await, world.client(&gateway, person).await];
        assert!(subscribed().await);
        drop(clients);
        eventually("the room to be closed", SOON, async || (!subscribed().await).then_some(())).await;
    }
}

#[tokio::test]
async fn what_is_no_log_event_is_passed_over() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    world.join_quietly(chat, &[person]);
    let client = world.client(&gateway, person).await;
    let subject = log_subject(chat);
    for body in ["", "{", "\u{0}", "{}"] {
        // Without the header that names the event.
        world.chat.jetstream().publish(subject.clone(), body.into()).await.unwrap().await.unwrap();
    }
    world.append(chat, "message:new", r#"{"n":1}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 1, SOON).await;
}

#[tokio::test]
async fn what_the_log_no_longer_has_is_to_be_fetched_afresh() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let chat = ChatId::new();
    world.join_quietly(chat, &[person]);
    let client = world.client(&gateway, person).await;
    world.append(chat, "message:new", r#"{"n":1}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 1, SOON).await;
    world.republish(false).await;
    world.append(chat, "message:new", r#"{"n":2}"#).await;
    world.republish(true).await;
    let third = world.chat.jetstream().get_stream_no_info(log_stream(chat)).await.unwrap().get_info().await.unwrap();
    let third = third.state.last_sequence + 1;
    world.answer("call.chat.read_log", move |_| Ok(json!({ "events": [], "cursor": third, "reset": true })));
    world.append(chat, "message:new", r#"{"n":3}"#).await;
    client.wait("chat:cursor", |args| args[0] == json!({ "chatId": chat, "cursor": third }), SOON).await;
    world.append(chat, "message:new", r#"{"n":4}"#).await;
    client.wait("message:new", |args| args[0]["n"] == 4, SOON).await;
}

#[tokio::test]
async fn a_message_goes_to_the_instance_that_appended_last_or_else_to_any() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (person, chat) = (Person::new(), ChatId::new());
    world.join_quietly(chat, &[person]);
    let client = world.client(&gateway, person).await;
    for by in ["any", "one", "other"] {
        let subject = if by == "any" { "call.chat.send".to_owned() } else { format!("call.chat.send.{by}") };
        world.answer(&subject, move |_| Ok(json!({ "created": true, "message": { "by": by } })));
    }
    // One in many goes to any on purpose.
    let mut count = 0;
    let mut send_ten = async || {
        let mut answered = [0; 3];
        for _ in 0..10 {
            count += 1;
            let message = json!({ "chatId": chat, "clientId": count.to_string(), "text": "t" });
            let ack = client.request("message:send", message).await;
            let by = ["any", "one", "other"].iter().position(|by| ack["message"]["by"] == *by);
            answered[by.unwrap()] += 1;
        }
        answered
    };
    assert_eq!(send_ten().await, [10, 0, 0]);
    for (at, instance) in [(1, "one"), (2, "other")] {
        world.append_by(instance, chat).await;
        client.wait("message:new", |args| args[0]["by"] == instance, SOON).await;
        assert!(send_ten().await[at] >= 8);
    }
    // It has it, and does not answer.
    world.silence("call.chat.send.other");
    let message = json!({ "chatId": chat, "clientId": "last", "text": "t" });
    assert_eq!(client.request("message:send", message).await["message"]["by"], "any");
}

#[tokio::test]
async fn a_change_goes_to_that_instance_and_to_no_other_where_it_does_not_answer() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (person, chat) = (Person::new(), ChatId::new());
    world.join_quietly(chat, &[person]);
    let client = world.client(&gateway, person).await;
    let verbs = ["edit", "delete_message", "add_reaction", "remove_reaction"];
    let answer = |verb: &str, by: &'static str| {
        let subject = if by == "any" { format!("call.chat.{verb}") } else { format!("call.chat.{verb}.{by}") };
        world.answer(&subject, move |_| Ok(message_json(chat, person, by)));
    };
    for verb in verbs {
        answer(verb, "any");
        answer(verb, "there");
    }
    let of_message = json!({ "chatId": chat, "seq": 1, "text": "t", "emoji": "👍" });
    let answered = async || {
        let events = ["message:edit", "message:delete", "reaction:add", "reaction:remove"];
        let acks = join_all(events.map(|event| client.request(event, of_message.clone()))).await;
        acks.iter()
            .map(|ack| ack["message"]["text"].as_str().unwrap_or(&ack.to_string()).to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(answered().await, ["any"; 4]);
    world.append_by("there", chat).await;
    client.wait("message:new", |args| args[0]["by"] == "there", SOON).await;
    assert_eq!(answered().await, ["there"; 4]);
    // One that has it may have done it: nobody else is asked.
    world.silence("call.chat.edit.hangs");
    world.append_by("hangs", chat).await;
    client.wait("message:new", |args| args[0]["by"] == "hangs", SOON).await;
    assert_eq!(client.request("message:edit", of_message).await["error"]["code"], "unavailable");
}
