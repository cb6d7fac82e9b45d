//! The archive: MongoDB may be away, and may be made anew.

use contract::{
    Code,
    chat::{AddReaction, GetChat, GetRooms, ListChats},
    text::Emoji,
};
use testkit::{Mongo, eventually};

use crate::world::{SOON, World, actor, people};

#[tokio::test]
async fn a_cold_instance_serves_without_mongodb_and_the_archive_catches_up() {
    let world = World::with(Mongo::start().await, 10_000).await;
    let warm = world.chat().await;
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;
    for n in 1..=450 {
        world.send(chat, anna, &format!("m{n}")).await;
    }
    world.mongo.stop().await;
    drop(warm);
    let _cold = world.chat().await;
    eventually("the cold instance serves", SOON, async || world.try_send(chat, ben, "still here").await.ok()).await;

    // Rooms, list, chat and all that the log tells of go on.
    assert_eq!(world.call(GetRooms { user_id: ben }).await.unwrap().chat_ids, [chat]);
    let list = world.call(ListChats { actor: actor(ben), cursor: None, limit: 50 }).await.unwrap();
    assert_eq!(list.chats.len(), 1);
    assert_eq!(world.call(GetChat { actor: actor(ben), chat_id: chat }).await.unwrap().last_seq, 451);
    assert_eq!(world.history(chat, ben).await.unwrap().len(), 451);

    world.mongo.start_again().await;
    eventually("MongoDB has everything", SOON, async || (world.archived("messages").await.len() == 451).then_some(()))
        .await;
}

#[tokio::test]
async fn what_is_not_archived_is_never_pushed_out_of_the_log() {
    let world = World::with(Mongo::start().await, 50).await;
    let _chat = world.chat().await;
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;
    world.mongo.stop().await;
    let mut sent = 0;
    let refused = loop {
        match world.try_send(chat, anna, &format!("m{sent}")).await {
            Ok(_) => sent += 1,
            Err(refused) => break refused,
        }
        assert!(sent < 60, "the log of 50 events took {sent} that are not archived");
    };
    assert_eq!(refused.code, Code::Unavailable);
    world.mongo.start_again().await;
    eventually("sends go on", SOON, async || world.try_send(chat, anna, "on").await.ok()).await;
    let history = world.history(chat, ben).await.unwrap();
    assert_eq!(history.len(), sent + 1);
    eventually("MongoDB has everything", SOON, async || {
        (world.archived("messages").await.len() == sent + 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dropped_collections_are_rebuilt_from_the_log() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben, carl] = people();
    let group = world.group(anna, &[ben]).await.id;
    let direct = world.direct(anna, carl).await.chat.id;
    for n in 1..=30 {
        world.send(group, ben, &format!("m{n}")).await;
        world.send(direct, carl, &format!("m{n}")).await;
    }
    let emoji = Emoji::new("🌱").unwrap();
    world.call(AddReaction { actor: actor(anna), chat_id: group, seq: 7, emoji }).await.unwrap();
    eventually("all is archived", SOON, async || {
        let messages = world.archived("messages").await;
        (messages.len() == 60 && messages.values().any(|message| message.contains_key("reactions"))).then_some(())
    })
    .await;
    let mut before = Vec::new();
    for collection in ["messages", "members", "chats"] {
        before.push(world.archived(collection).await);
    }
    // The second time all of it is there.
    for drop in [true, false] {
        let events = chat::rebuild(&world.config(), drop).await.unwrap();
        assert_eq!(events, 63);
        for (collection, before) in ["messages", "members", "chats"].into_iter().zip(&before) {
            assert_eq!(&world.archived(collection).await, before, "{collection}");
        }
    }
}
