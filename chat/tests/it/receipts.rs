//! Delivered, seen, unread and typing.

use std::time::Duration;

use async_nats::{Message, Subscriber};
use contract::{
    ChatId, Code, Refusal, UserId,
    chat::{
        AddMembers, Chat, DeleteMessage, GetChat, GetRoomState, ListChats, Mark, Receipt, ReceiptEntry, ReceiptKind,
        RemoveMember, SetTyping,
    },
    event::{MessageKind, Seq},
    headers,
    room::{self, RoomEvent},
};
use futures::StreamExt;
use testkit::Mongo;

use crate::world::{SOON, World, actor, people};

async fn mark(world: &World, user: UserId, chat_id: ChatId, kind: ReceiptKind, seq: Seq) -> Result<(), Refusal> {
    world.call(Mark { actor: actor(user), chat_id, seq, kind }).await.map(|_| ())
}

async fn read(world: &World, user: UserId, chat: ChatId, seq: Seq) {
    mark(world, user, chat, ReceiptKind::Read, seq).await.unwrap();
}

async fn view(world: &World, user: UserId, chat_id: ChatId) -> Chat {
    world.call(GetChat { actor: actor(user), chat_id }).await.unwrap()
}

/// What of it nobody has seen, counted message by message; and that the list of chats says the same.
async fn assert_recount(world: &World, user: UserId, chat: ChatId, joined: Seq) -> u64 {
    let viewed = view(world, user, chat).await;
    let seen = viewed.receipts.iter().find(|one| one.user_id == user).map_or(0, |one| one.entry.seen);
    let messages = world.history(chat, user).await.unwrap();
    let unread = messages.iter().filter(|message| {
        let late = message.seq > seen && message.seq > joined;
        late && message.sender_id != user && message.deleted_at.is_none() && message.kind == MessageKind::User
    });
    assert_eq!(viewed.unread, unread.count() as u64);
    let list = world.call(ListChats { actor: actor(user), cursor: None, limit: 50 }).await.unwrap();
    assert_eq!(list.chats.iter().find(|listed| listed.id == chat).unwrap(), &viewed);
    viewed.unread
}

/// The next message of the room that is of this kind.
async fn next(events: &mut Subscriber, wanted: impl Fn(RoomEvent) -> bool) -> Message {
    let next = async {
        loop {
            let message = events.next().await.unwrap();
            if room::parse(&message.subject).is_some_and(|(_, event)| wanted(event)) {
                return message;
            }
        }
    };
    tokio::time::timeout(SOON, next).await.unwrap()
}

#[tokio::test]
async fn receipts_move_forward_and_are_heard_in_the_room() {
    let world = World::start().await;
    let instance = world.chat().await;
    let [anna, ben, eve] = people();
    let chat = world.direct(anna, ben).await.chat.id;
    for n in 1..=5 {
        world.send(chat, anna, &n.to_string()).await;
    }
    let mut events = world.gateway().subscribe(room::of_chat(chat)).await.unwrap();
    world.gateway().flush().await.unwrap();

    mark(&world, ben, chat, ReceiptKind::Delivered, 4).await.unwrap();
    let heard = next(&mut events, |event| event == RoomEvent::Read(ben)).await;
    assert_eq!(heard.headers.unwrap().get(headers::EVENT).unwrap().as_str(), "message:delivered");
    let entry: ReceiptEntry = serde_json::from_slice(&heard.payload).unwrap();
    assert_eq!((entry.delivered, entry.seen), (4, 0));
    assert!(entry.delivered_at.is_some() && entry.seen_at.is_none());

    read(&world, ben, chat, 3).await;
    let heard = next(&mut events, |event| event == RoomEvent::Read(ben)).await;
    assert_eq!(heard.headers.unwrap().get(headers::EVENT).unwrap().as_str(), "message:read");
    let entry: ReceiptEntry = serde_json::from_slice(&heard.payload).unwrap();
    assert_eq!((entry.delivered, entry.seen), (4, 3));

    // Back: nothing changes and nobody hears of it, as the next thing that is heard shows.
    read(&world, ben, chat, 2).await;
    mark(&world, ben, chat, ReceiptKind::Delivered, 1).await.unwrap();
    read(&world, anna, chat, 5).await;
    let heard = next(&mut events, |event| matches!(event, RoomEvent::Read(_))).await;
    assert_eq!(room::parse(&heard.subject), Some((chat, RoomEvent::Read(anna))));

    for (user, seq, code) in [(ben, 0, Code::Invalid), (ben, 6, Code::Invalid), (eve, 1, Code::NotFound)] {
        assert_eq!(mark(&world, user, chat, ReceiptKind::Read, seq).await.unwrap_err().code, code);
    }
    // Both see both, also after a restart.
    drop(instance);
    let _instance = world.chat().await;
    for user in [anna, ben] {
        let receipts = view(&world, user, chat).await.receipts;
        let of = |user| receipts.iter().find(|receipt: &&Receipt| receipt.user_id == user).unwrap().entry.clone();
        assert_eq!(of(ben), entry);
        assert_eq!((of(anna).delivered, of(anna).seen), (5, 5));
        assert_eq!(world.call(GetRoomState { chat_id: chat, typing_only: false }).await.unwrap().receipts, receipts);
    }
}

#[tokio::test]
async fn devices_that_mark_at_once_leave_the_furthest() {
    let world = World::start().await;
    let (_one, _other) = (world.chat().await, world.chat().await);
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;
    for n in 1..=20 {
        world.send(chat, anna, &n.to_string()).await;
    }
    let marks = (1..=20)
        .map(|seq| mark(&world, ben, chat, if seq % 2 == 0 { ReceiptKind::Read } else { ReceiptKind::Delivered }, seq));
    for outcome in futures::future::join_all(marks).await {
        outcome.unwrap();
    }
    let receipts = view(&world, anna, chat).await.receipts;
    assert_eq!((receipts[0].entry.delivered, receipts[0].entry.seen), (20, 20));
    assert_recount(&world, ben, chat, 0).await;
}

#[tokio::test]
async fn unread_is_what_a_recount_gives() {
    let world = World::start().await;
    let _instance = world.chat().await;
    let [anna, ben, carl] = people();
    let chat = world.group(anna, &[ben]).await.id;
    for n in 1..=10 {
        world.send(chat, if n % 5 == 0 { ben } else { anna }, &n.to_string()).await;
    }
    assert_eq!(assert_recount(&world, ben, chat, 0).await, 8);
    assert_eq!(assert_recount(&world, anna, chat, 0).await, 2);
    read(&world, ben, chat, 3).await;
    assert_eq!(assert_recount(&world, ben, chat, 0).await, 5);
    for seq in [2, 4, 6] {
        world.call(DeleteMessage { actor: actor(anna), chat_id: chat, seq }).await.unwrap();
    }
    assert_eq!(assert_recount(&world, ben, chat, 0).await, 3);
    // A member from now on has nothing to catch up with, whoever comes and goes is no message.
    world.call(AddMembers { actor: actor(anna), chat_id: chat, user_ids: vec![carl] }).await.unwrap();
    assert_eq!(assert_recount(&world, carl, chat, 11).await, 0);
    assert_eq!(assert_recount(&world, ben, chat, 0).await, 3);
    world.send(chat, ben, "to carl").await;
    assert_eq!(assert_recount(&world, carl, chat, 11).await, 1);
    // Nor has one who was away for a while, whatever they had seen before.
    world.call(RemoveMember { actor: actor(anna), chat_id: chat, user_id: carl }).await.unwrap();
    world.send(chat, ben, "without carl").await;
    world.call(AddMembers { actor: actor(anna), chat_id: chat, user_ids: vec![carl] }).await.unwrap();
    assert_eq!(assert_recount(&world, carl, chat, 15).await, 0);
}

#[tokio::test]
async fn unread_is_exact_for_those_far_behind_too() {
    let world = World::with(Mongo::start().await, 10_000).await;
    let _instance = world.chat().await;
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;
    for n in 1..=400 {
        world.send(chat, if n % 10 == 0 { ben } else { anna }, &n.to_string()).await;
    }
    for seq in [1, 11, 351] {
        world.call(DeleteMessage { actor: actor(anna), chat_id: chat, seq }).await.unwrap();
    }
    assert_eq!(assert_recount(&world, ben, chat, 0).await, 357);
    read(&world, ben, chat, 12).await;
    assert_eq!(assert_recount(&world, ben, chat, 0).await, 348);
    // Also from the log alone.
    world.mongo.stop().await;
    assert_eq!(view(&world, ben, chat).await.unread, 348);
}

#[tokio::test]
async fn a_large_group_is_told_numbers() {
    let world = World::start().await;
    let _instance = world.chat().await;
    let everybody: [UserId; 120] = people();
    let [anna, ben, carl] = [everybody[0], everybody[1], everybody[2]];
    let chat = world.group(anna, &everybody[1..]).await.id;
    for n in 1..=3 {
        world.send(chat, anna, &n.to_string()).await;
    }
    let counts = view(&world, ben, chat).await.receipt_counts;
    assert_eq!(counts.iter().map(|count| (count.seq, count.seen)).collect::<Vec<_>>(), [(1, 0), (2, 0), (3, 0)]);
    let mut events = world.gateway().subscribe(room::of_chat(chat)).await.unwrap();
    world.gateway().flush().await.unwrap();
    read(&world, ben, chat, 2).await;
    let heard = next(&mut events, |event| event == RoomEvent::Read(ben)).await;
    assert_eq!(heard.headers.unwrap().get(headers::AUDIENCE).unwrap().as_str(), headers::AUDIENCE_OWN);
    mark(&world, carl, chat, ReceiptKind::Delivered, 3).await.unwrap();
    read(&world, anna, chat, 3).await;
    let viewed = view(&world, ben, chat).await;
    let counts: Vec<_> = viewed.receipt_counts.iter().map(|count| (count.seq, count.delivered, count.seen)).collect();
    assert_eq!(counts, [(1, 2, 1), (2, 2, 1), (3, 1, 0)]);
    assert_eq!(viewed.receipts.iter().map(|receipt| receipt.user_id).collect::<Vec<_>>(), [ben]);
    let list = world.call(ListChats { actor: actor(ben), cursor: None, limit: 50 }).await.unwrap();
    assert_eq!((list.chats[0].receipts.len(), list.chats[0].unread), (1, 1));
}

#[tokio::test]
async fn typing_ends_by_itself_or_when_told() {
    let world = World::start().await;
    let _instance = world.chat().await;
    let [anna, ben, eve] = people();
    let chat_id = world.direct(anna, ben).await.chat.id;
    let mut events = world.gateway().subscribe(room::of_chat(chat_id)).await.unwrap();
    world.gateway().flush().await.unwrap();
    let typing = async |user, typing| world.call(SetTyping { actor: actor(user), chat_id, typing }).await;
    assert_eq!(typing(eve, true).await.unwrap_err().code, Code::NotFound);

    typing(anna, true).await.unwrap();
    typing(ben, true).await.unwrap();
    for user in [anna, ben] {
        let heard = next(&mut events, |event| event == RoomEvent::Typing(user)).await;
        assert!(!heard.payload.is_empty());
    }
    // Of others: nobody is told that they type themselves.
    assert_eq!(view(&world, anna, chat_id).await.typing, [ben]);
    assert_eq!(world.call(GetRoomState { chat_id, typing_only: true }).await.unwrap().typing.len(), 2);
    typing(anna, false).await.unwrap();
    let heard = next(&mut events, |event| event == RoomEvent::Typing(anna)).await;
    assert!(heard.payload.is_empty());
    assert!(view(&world, ben, chat_id).await.typing.is_empty());
    // Ben's connection has died: the server says so when his key expires.
    let started = tokio::time::Instant::now();
    let heard = next(&mut events, |event| event == RoomEvent::Typing(ben)).await;
    assert!(heard.payload.is_empty());
    assert_eq!(heard.headers.unwrap().get("Nats-Marker-Reason").unwrap().as_str(), "MaxAge");
    assert!(started.elapsed() < Duration::from_secs(9));
    assert!(view(&world, anna, chat_id).await.typing.is_empty());
    assert!(world.call(GetRoomState { chat_id, typing_only: true }).await.unwrap().typing.is_empty());
}

#[tokio::test]
async fn one_who_leaves_types_no_longer() {
    let world = World::start().await;
    let _instance = world.chat().await;
    let [anna, ben] = people();
    let chat_id = world.group(anna, &[ben]).await.id;
    let mut events = world.gateway().subscribe(room::of_chat(chat_id)).await.unwrap();
    world.gateway().flush().await.unwrap();
    world.call(SetTyping { actor: actor(ben), chat_id, typing: true }).await.unwrap();
    next(&mut events, |event| event == RoomEvent::Typing(ben)).await;
    world.call(RemoveMember { actor: actor(ben), chat_id, user_id: ben }).await.unwrap();
    assert!(view(&world, anna, chat_id).await.typing.is_empty());
    let started = tokio::time::Instant::now();
    let heard = next(&mut events, |event| event == RoomEvent::Typing(ben)).await;
    // Not by its expiry.
    assert!(heard.payload.is_empty() && heard.headers.unwrap().get("Nats-Marker-Reason").is_none());
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn of_one_who_leaves_without_typing_nothing_is_said() {
    let world = World::start().await;
    let _instance = world.chat().await;
    let [anna, ben, carl] = people();
    let chat_id = world.group(anna, &[ben, carl]).await.id;
    let mut events = world.gateway().subscribe(room::of_chat(chat_id)).await.unwrap();
    world.gateway().flush().await.unwrap();
    world.call(RemoveMember { actor: actor(anna), chat_id, user_id: carl }).await.unwrap();
    world.call(SetTyping { actor: actor(ben), chat_id, typing: true }).await.unwrap();
    let heard = next(&mut events, |event| matches!(event, RoomEvent::Typing(_))).await;
    assert_eq!(room::parse(&heard.subject).map(|(_, event)| event), Some(RoomEvent::Typing(ben)));
}
