//! Catch-up: exactly the events after a cursor, or a reset.

use std::collections::BTreeMap;

use contract::{
    Code,
    chat::{AddMembers, DeleteMessage, EditMessage, Events, GetEvents, ReadLog, SendMessage, Sync},
    event::Message,
    text::MessageText,
};
use testkit::Mongo;

use crate::world::{World, actor, new_message, people};

#[tokio::test]
async fn events_after_a_cursor_are_exactly_those_missed() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben, stranger] = people();
    let chat = world.direct(anna, ben).await.chat;
    for n in 1..=10 {
        world.send(chat.id, anna, &format!("m{n}")).await;
    }
    let events =
        async |after, limit| world.call(GetEvents { actor: actor(ben), chat_id: chat.id, after, limit }).await.unwrap();
    let all = events(0, 200).await;
    assert_eq!(all.events.len(), 11);
    assert_eq!(all.events[0].event, "chat:created");
    assert!(all.events.windows(2).all(|pair| pair[1].prev == pair[0].cursor));
    assert_eq!(all.events[0].prev, 0);

    let missed = events(chat.cursor, 200).await;
    assert_eq!(missed.events.len(), 10);
    assert_eq!(missed.events[0].prev, chat.cursor);
    assert!(!missed.reset && !missed.has_more);
    let first = events(chat.cursor, 4).await;
    assert_eq!((first.events.len(), first.has_more), (4, true));
    let rest = events(first.cursor, 200).await;
    assert_eq!((rest.events.len(), rest.has_more), (6, false));
    assert_eq!(rest.cursor, all.cursor);
    let none = events(rest.cursor, 200).await;
    assert_eq!((none.events.len(), none.cursor, none.reset), (0, rest.cursor, false));
    assert!(events(rest.cursor + 1_000, 200).await.reset, "a cursor from a log that is no more");

    let foreign = GetEvents { actor: actor(stranger), chat_id: chat.id, after: 0, limit: 10 };
    assert_eq!(world.call(foreign).await.unwrap_err().code, Code::NotFound);
    let end = world.call(ReadLog { chat_id: chat.id, after: None, limit: 10 }).await.unwrap();
    assert_eq!((end.events.len(), end.cursor), (0, all.cursor));
}

#[tokio::test]
async fn what_a_deleted_message_said_is_told_to_nobody_who_comes_later() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben, carl] = people();
    let chat_id = world.group(anna, &[ben]).await.id;
    let text = |text: &str| MessageText::new(text).unwrap();
    let send = |name, said| SendMessage { actor: actor(anna), message: new_message(chat_id, name, said) };
    for (name, said) in [("one", "hello"), ("two", "secret")] {
        world.call(send(name, said)).await.unwrap();
    }
    let edit = EditMessage { actor: actor(anna), chat_id, seq: 2, text: text("secret, too"), mentions: vec![ben] };
    world.call(edit).await.unwrap();
    let known = world.call(GetEvents { actor: actor(ben), chat_id, after: 0, limit: 200 }).await.unwrap();
    assert!(told(&known).contains("secret"), "it is not deleted yet");
    world.call(DeleteMessage { actor: actor(anna), chat_id, seq: 2 }).await.unwrap();
    world.call(AddMembers { actor: actor(anna), chat_id, user_ids: vec![carl] }).await.unwrap();

    let again = world.call(send("two", "secret")).await.unwrap();
    let again: Message = serde_json::from_str(again.message.get()).unwrap();
    assert!(again.deleted_at.is_some() && again.text.is_empty(), "a repetition does not bring it back");
    // Beside the instance that deleted it: one that has to read the log, and one that knows the snapshot.
    for _ in 0..2 {
        let _other = world.chat().await;
        for user in [ben, carl] {
            let events = world.call(GetEvents { actor: actor(user), chat_id, after: 0, limit: 200 }).await.unwrap();
            let chats = BTreeMap::from([(chat_id, events.events[0].cursor)]);
            let synced = world.call(Sync { actor: actor(user), chats }).await.unwrap();
            for events in [&events, &synced.chats[&chat_id]] {
                let told = told(events);
                assert!(told.contains("hello") && !told.contains("secret"), "{told}");
                assert!(told.contains("message:edited") && told.contains("message:deleted"), "{told}");
                let mut known: Vec<_> = events.events.iter().map(|event| event.event.as_str()).collect();
                known.retain(|event| *event == "message:new");
                assert_eq!(known.len(), 2, "nothing is left out");
            }
        }
    }
}

fn told(events: &Events) -> String {
    events.events.iter().map(|event| format!("{} {}", event.event, event.data)).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn where_the_log_no_longer_reaches_it_says_so() {
    let world = World::with(Mongo::shared().await, 20).await;
    let _chat = world.chat().await;
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat;
    for n in 1..=60 {
        testkit::eventually("the archive keeps up", crate::world::SOON, async || {
            world.try_send(chat.id, anna, &format!("m{n}")).await.ok()
        })
        .await;
    }
    let events =
        async |after| world.call(GetEvents { actor: actor(ben), chat_id: chat.id, after, limit: 200 }).await.unwrap();
    let gone = events(chat.cursor).await;
    assert!(gone.reset && gone.events.is_empty());
    assert!(events(0).await.reset);
    let end = events(gone.cursor).await;
    assert!(!end.reset && end.events.is_empty());
    // History still has everything: the older part from MongoDB.
    assert_eq!(world.history(chat.id, ben).await.unwrap().len(), 60);
}

#[tokio::test]
async fn sync_answers_many_chats_and_leaves_foreign_ones_out() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben, carl, dora] = people();
    let (with_ben, with_carl) = (world.direct(anna, ben).await.chat, world.direct(anna, carl).await.chat);
    let foreign = world.direct(carl, dora).await.chat;
    for n in 1..=250 {
        world.send(with_ben.id, ben, &format!("m{n}")).await;
    }
    let mut known = BTreeMap::from([
        (with_ben.id, with_ben.cursor),
        (with_carl.id, with_carl.cursor),
        (foreign.id, foreign.cursor),
    ]);
    let mut got = 0;
    loop {
        let synced = world.call(Sync { actor: actor(anna), chats: known.clone() }).await.unwrap().chats;
        assert_eq!(synced.len(), 2);
        let Events { events, cursor, has_more, .. } = &synced[&with_ben.id];
        got += events.len();
        known.insert(with_ben.id, *cursor);
        if !has_more {
            break;
        }
    }
    assert_eq!(got, 250);
}
