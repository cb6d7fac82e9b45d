//! Who is to be told of what is written: what `mail` asks.

use std::collections::{BTreeMap, BTreeSet};

use contract::{
    chat::{
        AudienceOf, ChatChanges, DeleteMessage, GetAudiences, Listener, MAX_AUDIENCES, Mark, ReceiptKind, UpdateChat,
    },
    event::ChatType,
};
use service::Caller;

use crate::world::{World, actor, people};

#[tokio::test]
async fn mail_is_told_who_wants_to_hear_what_and_what_is_gone() {
    let world = World::start().await;
    let _instance = world.chat().await;
    let [anna, ben, carl] = people();
    let chat_id = world.group(anna, &[ben, carl]).await.id;
    for text in ["one", "two", "three"] {
        world.send(chat_id, ben, text).await;
    }
    world.call(Mark { actor: actor(anna), chat_id, seq: 2, kind: ReceiptKind::Read }).await.unwrap();
    let changes = ChatChanges { muted: Some(true), ..ChatChanges::default() };
    world.call(UpdateChat { actor: actor(carl), chat_id, changes }).await.unwrap();
    for seq in [1, 3] {
        world.call(DeleteMessage { actor: actor(ben), chat_id, seq }).await.unwrap();
    }

    let mail = Caller::new(world.nats.connect("mail").await);
    let of = AudienceOf { chat_id, cursor: 0, senders_of: vec![2, 9], messages: vec![2, 3, 9] };
    let asked = GetAudiences { chats: vec![of.clone(); MAX_AUDIENCES + 1] };
    assert!(mail.call(&asked).await.is_err());
    let mut answer = mail.call(&GetAudiences { chats: vec![of] }).await.unwrap();
    let audience = answer.chats.remove(&chat_id).unwrap().unwrap();
    let members: BTreeMap<_, _> =
        audience.members.into_iter().map(|Listener { user_id, muted, seen }| (user_id, (muted, seen))).collect();
    assert_eq!((members[&anna], members[&carl]), ((false, 2), (true, 0)));
    assert_eq!((members.len(), audience.chat_type), (3, ChatType::Group));
    assert_eq!(audience.senders, BTreeMap::from([(2, ben)]));
    // Of what was asked for.
    assert_eq!(audience.erased, BTreeSet::from([3]));
}
