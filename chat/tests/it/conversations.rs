//! Conversations and their members.

use contract::{
    ChatId, Code, UserId,
    chat::{
        AddMembers, ChatChanges, CreateChat, DeleteChat, DeleteMessage, GetChat, GetRooms, ListChats, MemberEntry,
        NewChat, RemoveMember, SetRole, UpdateChat,
    },
    event::{MemberRole, MessageKind},
    room,
    text::Name,
};
use futures::{StreamExt, future::join_all};

use crate::world::{SOON, World, actor, people};

#[tokio::test]
async fn a_direct_chat_asked_for_by_both_at_once_is_one() {
    let world = World::start().await;
    let (_one, _other) = (world.chat().await, world.chat().await);
    let [anna, ben] = people();
    let asked = (0..20).map(|n| if n % 2 == 0 { world.direct(anna, ben) } else { world.direct(ben, anna) });
    let answers = join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert!(answers.iter().all(|answer| answer.chat.id == ChatId::direct(anna, ben)));
    let rooms = world.call(GetRooms { user_id: ben }).await.unwrap();
    assert_eq!(rooms.chat_ids, [ChatId::direct(anna, ben)]);
    // Not with oneself.
    let alone = CreateChat { actor: actor(anna), chat: NewChat::Direct { user_id: anna } };
    assert_eq!(world.call(alone).await.unwrap_err().errors[0].field, "userId");
}

#[tokio::test]
async fn a_group_from_its_first_to_its_last_day() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben, carl, dora] = people();
    let mut dora_hears = world.gateway().subscribe(room::of_person(dora)).await.unwrap();
    let chat_id = world.group(anna, &[ben, carl, ben, anna]).await.id;
    let add = |who, users: &[UserId]| AddMembers { actor: actor(who), chat_id, user_ids: users.to_vec() };
    let remove = |who, user_id| RemoveMember { actor: actor(who), chat_id, user_id };
    let role = |who, user_id, role| SetRole { actor: actor(who), chat_id, user_id, role };
    let get = |who| GetChat { actor: actor(who), chat_id };

    assert_eq!(world.call(get(ben)).await.unwrap().members.len(), 3);
    assert_eq!(world.call(get(dora)).await.unwrap_err().code, Code::NotFound);
    assert_eq!(world.call(add(dora, &[dora])).await.unwrap_err().code, Code::NotFound);
    assert_eq!(world.call(add(ben, &[dora])).await.unwrap_err().code, Code::Forbidden);
    world.call(role(anna, ben, MemberRole::Admin)).await.unwrap();
    assert_eq!(world.call(role(ben, ben, MemberRole::Owner)).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(world.call(add(ben, &[dora, carl])).await.unwrap().members.len(), 4);
    let heard = tokio::time::timeout(SOON, dora_hears.next()).await.unwrap().unwrap();
    assert_eq!(room::parse_person(&heard.subject), Some((dora, room::PersonEvent::Member(chat_id))));
    assert!(serde_json::from_slice::<MemberEntry>(&heard.payload).unwrap().joined);

    let name = |name| UpdateChat {
        actor: actor(carl),
        chat_id,
        changes: ChatChanges { name: Some(Name::new(name).unwrap()), ..ChatChanges::default() },
    };
    assert_eq!(world.call(name("Carl's")).await.unwrap_err().code, Code::Forbidden);
    let mute = ChatChanges { muted: Some(true), ..ChatChanges::default() };
    assert!(world.call(UpdateChat { actor: actor(carl), chat_id, changes: mute }).await.unwrap().muted);
    assert!(!world.call(get(anna)).await.unwrap().muted);

    assert_eq!(world.call(remove(ben, anna)).await.unwrap_err().code, Code::Forbidden);
    world.call(remove(ben, carl)).await.unwrap();
    assert_eq!(world.try_send(chat_id, carl, "still here?").await.unwrap_err().code, Code::NotFound);
    assert_eq!(world.call(role(anna, anna, MemberRole::Member)).await.unwrap_err().code, Code::Conflict);
    world.call(remove(anna, anna)).await.unwrap();
    let after = world.call(get(dora)).await.unwrap();
    let ben_now = after.members.iter().find(|member| member.user_id == ben).unwrap();
    assert_eq!(ben_now.role, MemberRole::Owner, "the last owner's leaving passes ownership on");

    // Every membership change is a message of the system with a number of its own.
    let history = world.history(chat_id, dora).await.unwrap();
    assert!(history.iter().all(|message| message.kind == MessageKind::System && message.change.is_some()));
    assert_eq!(history.iter().map(|message| message.seq).collect::<Vec<_>>(), [1, 2, 3, 4]);
    // Nobody takes it back, not even an owner who caused it.
    let taken_back = world.call(DeleteMessage { actor: actor(ben), chat_id, seq: 2 }).await.unwrap_err();
    assert_eq!(taken_back.code, Code::Forbidden);
    assert!(taken_back.message.contains("system message"), "{taken_back}");

    assert_eq!(world.call(DeleteChat { actor: actor(dora), chat_id }).await.unwrap_err().code, Code::Forbidden);
    world.call(DeleteChat { actor: actor(ben), chat_id }).await.unwrap();
    assert_eq!(world.call(get(ben)).await.unwrap_err().code, Code::NotFound);
    for user_id in [anna, ben, carl, dora] {
        assert!(world.call(GetRooms { user_id }).await.unwrap().chat_ids.is_empty());
    }
}

#[tokio::test]
async fn the_list_is_by_last_activity_in_pages() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna] = people();
    let others: [UserId; 5] = people();
    let mut chats = Vec::new();
    for other in others {
        chats.push(world.direct(anna, other).await.chat.id);
    }
    world.send(chats[1], others[1], "hello").await;
    let page = async |cursor| {
        let page = world.call(ListChats { actor: actor(anna), cursor, limit: 2 }).await.unwrap();
        (page.chats.iter().map(|chat| chat.id).collect::<Vec<_>>(), page.next_cursor)
    };
    let (first, cursor) = page(None).await;
    assert_eq!(first, [chats[1], chats[4]]);
    let (second, cursor) = page(Some(cursor.unwrap())).await;
    assert_eq!(second, [chats[3], chats[2]]);
    assert_eq!(page(Some(cursor.unwrap())).await, (vec![chats[0]], None));
    let newest = world.call(ListChats { actor: actor(anna), cursor: None, limit: 1 }).await.unwrap().chats.remove(0);
    assert_eq!((newest.unread, newest.last_seq), (1, 1));
    assert_eq!(&*newest.last_message.unwrap().text, "hello");
    let bad = ListChats { actor: actor(anna), cursor: Some("x".into()), limit: 1 };
    assert_eq!(world.call(bad).await.unwrap_err().errors[0].field, "cursor");
}
