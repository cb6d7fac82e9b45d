//! Catch-up: exactly the events after a cursor, or a reset.

use std::collections::BTreeMap;

use contract::{
    Code,
    chat::{Events, GetEvents, ReadLog, Sync},
};
use testkit::Mongo;

use crate::world::{World, actor, people};

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
