//! Messages: sent once whatever happens, numbered without gaps, read back as they are.

use std::collections::BTreeSet;

use contract::{
    Code, UserId,
    chat::{AddReaction, DeleteMessage, EditMessage, GetHistory, RemoveReaction, SendMessage},
    text::{Emoji, MessageText},
};
use futures::future::join_all;
use testkit::{Mongo, eventually};

use crate::world::{SOON, World, actor, new_message, people};

#[tokio::test]
async fn one_client_id_sent_fifty_times_in_parallel_is_one_message() {
    let world = World::start().await;
    let (_one, _other) = (world.chat().await, world.chat().await);
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;

    let sends =
        (0..50).map(|_| world.call(SendMessage { actor: actor(anna), message: new_message(chat, "the-one", "hello") }));
    let answers: Vec<_> = join_all(sends).await.into_iter().map(Result::unwrap).collect();

    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert!(answers.iter().all(|answer| answer.message.get() == answers[0].message.get()));
    let history = world.history(chat, ben).await.unwrap();
    assert_eq!(history.len(), 1);
    // The same name from somebody else is another message.
    world.call(SendMessage { actor: actor(ben), message: new_message(chat, "the-one", "hi") }).await.unwrap();
    assert_eq!(world.history(chat, anna).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_repeat_from_long_ago_is_known_by_the_log() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;
    let first = world.send(chat, anna, "first").await;
    for n in 0..300 {
        world.send(chat, ben, &format!("m{n}")).await;
    }
    let again = world.call(SendMessage { actor: actor(anna), message: new_message(chat, "first", "first") }).await;
    let again = again.unwrap();
    assert!(!again.created);
    assert_eq!(serde_json::from_str::<contract::event::Message>(again.message.get()).unwrap(), first);
}

#[tokio::test]
async fn two_instances_that_collide_number_without_gaps() {
    let world = World::start().await;
    let (_one, _other) = (world.chat().await, world.chat().await);
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;

    let texts: Vec<String> = (0..200).map(|n| format!("m{n}")).collect();
    let sent = join_all(texts.iter().map(|text| world.send(chat, if text.len() % 2 == 0 { anna } else { ben }, text)));
    let mut seqs: Vec<u64> = sent.await.iter().map(|message| message.seq).collect();

    seqs.sort_unstable();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    let history = world.history(chat, anna).await.unwrap();
    assert_eq!(history.iter().map(|message| message.seq).collect::<Vec<_>>(), (1..=200).collect::<Vec<_>>());
    assert!(history.is_sorted_by_key(|message| message.sent_at));
}

#[tokio::test]
async fn edits_deletes_and_reactions_show_at_once_and_in_the_archive() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben, carl] = people();
    let chat_id = world.group(anna, &[ben]).await.id;
    let (first, second) = (world.send(chat_id, ben, "frist").await, world.send(chat_id, ben, "second").await);
    let text = MessageText::new("first").unwrap();
    let thumb = Emoji::new("👍").unwrap();

    let edit = |who, seq| EditMessage { actor: actor(who), chat_id, seq, text: text.clone(), mentions: vec![] };
    let edited = world.call(edit(ben, first.seq)).await.unwrap();
    assert_eq!((&*edited.text, edited.edited_at.is_some()), ("first", true));
    assert_eq!(world.call(edit(anna, first.seq)).await.unwrap_err().code, Code::Forbidden);
    assert_eq!(world.call(edit(carl, first.seq)).await.unwrap_err().code, Code::NotFound);
    assert_eq!(world.call(edit(ben, 99)).await.unwrap_err().code, Code::NotFound);

    for who in [anna, ben, anna] {
        let seq = first.seq;
        world.call(AddReaction { actor: actor(who), chat_id, seq, emoji: thumb.clone() }).await.unwrap();
    }
    let remove = RemoveReaction { actor: actor(ben), chat_id, seq: first.seq, emoji: thumb.clone() };
    assert_eq!(world.call(remove).await.unwrap().reactions[&thumb], [anna]);

    // The owner may delete what a member wrote; what is deleted stays so.
    let delete = |who| DeleteMessage { actor: actor(who), chat_id, seq: second.seq };
    let deleted = world.call(delete(anna)).await.unwrap();
    assert!(deleted.deleted_at.is_some() && deleted.text.is_empty());
    assert_eq!(world.call(delete(ben)).await.unwrap(), deleted);
    assert_eq!(world.call(edit(ben, second.seq)).await.unwrap_err().code, Code::Conflict);

    let history = world.history(chat_id, ben).await.unwrap();
    assert_eq!((&*history[0].text, &*history[1].text), ("first", ""));
    assert_eq!(history[0].reactions[&thumb], [anna]);
    eventually("the archive has the edit, the delete and the reactions", SOON, async || {
        let archived = world.archived("messages").await;
        let first = archived.get(&format!("{chat_id}:{:020}", 1))?;
        let second = archived.get(&format!("{chat_id}:{:020}", 2))?;
        let reactions = first.get_document("reactions").ok()?.get_document("👍").ok()?;
        (first.get_document("edit").is_ok() && second.get_document("deleted").is_ok() && reactions.len() == 2)
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hundred_who_react_to_one_message_through_two_instances_are_all_on_it() {
    let world = World::start().await;
    let (_one, _other) = (world.chat().await, world.chat().await);
    let crowd: Vec<UserId> = (0..100).map(|_| UserId::new()).collect();
    let chat_id = world.group(crowd[0], &crowd[1..]).await.id;
    let seq = world.send(chat_id, crowd[0], "who comes?").await.seq;
    let [thumb, heart] = ["👍", "❤️"].map(|emoji| Emoji::new(emoji).unwrap());

    let react = async |who: &UserId| {
        let both = [&thumb, &heart].map(|emoji| AddReaction { actor: actor(*who), chat_id, seq, emoji: emoji.clone() });
        for reaction in both {
            world.call(reaction).await.unwrap();
        }
        let remove = RemoveReaction { actor: actor(*who), chat_id, seq, emoji: heart.clone() };
        world.call(remove).await.unwrap()
    };
    let answers = join_all(crowd.iter().map(react)).await;

    for (who, answer) in crowd.iter().zip(&answers) {
        assert!(answer.reactions[&thumb].contains(who));
        assert!(answer.reactions.get(&heart).is_none_or(|hearts| !hearts.contains(who)));
    }
    let history = world.history(chat_id, crowd[0]).await.unwrap();
    let all: BTreeSet<UserId> = history[0].reactions[&thumb].iter().copied().collect();
    assert_eq!((all, history[0].reactions.len()), (crowd.iter().copied().collect(), 1));
}

#[tokio::test]
async fn changes_and_messages_of_a_busy_chat_do_not_keep_each_other_waiting() {
    let world = World::start().await;
    let (_one, _other) = (world.chat().await, world.chat().await);
    let [anna, ben] = people();
    let chat_id = world.direct(anna, ben).await.chat.id;
    for n in 1..=40 {
        world.send(chat_id, anna, &format!("m{n}")).await;
    }
    let text = |seq| MessageText::new(format!("m{seq}, corrected")).unwrap();
    let edit = async |seq| {
        let edit = EditMessage { actor: actor(anna), chat_id, seq, text: text(seq), mentions: vec![] };
        world.call(edit).await.map(|edited| (edited.seq, edited.text))
    };
    let react = async |seq| {
        let react = AddReaction { actor: actor(ben), chat_id, seq, emoji: Emoji::new("👍").unwrap() };
        world.call(react).await
    };
    let texts: Vec<String> = (0..120).map(|n| format!("more {n}")).collect();
    let (sent, edited, reacted) = tokio::join!(
        join_all(texts.iter().map(|text| world.try_send(chat_id, ben, text))),
        join_all((1..=40).map(edit)),
        join_all((1..=40).map(react)),
    );

    assert!(sent.iter().all(Result::is_ok) && reacted.iter().all(Result::is_ok), "{sent:?} {reacted:?}");
    let edited: Vec<_> = edited.into_iter().map(Result::unwrap).collect();
    assert_eq!(edited, (1..=40).map(|seq| (seq, text(seq))).collect::<Vec<_>>());
    let history = world.history(chat_id, anna).await.unwrap();
    assert_eq!(history.len(), 160);
    for message in &history[..40] {
        assert_eq!((&message.text, message.reactions.len()), (&text(message.seq), 1));
    }
}

#[tokio::test]
async fn a_change_that_waits_for_the_archive_holds_up_no_message() {
    let world = World::with(Mongo::start().await, 10_000).await;
    let _chat = world.chat().await;
    let [anna, ben] = people();
    let chat_id = world.direct(anna, ben).await.chat.id;
    // So many that nobody knows any more where the log tells of the first.
    for n in 1..=300 {
        world.send(chat_id, anna, &format!("m{n}")).await;
    }
    let archived = async || (world.archived("messages").await.len() == 300).then_some(());
    eventually("the archive has them", SOON, archived).await;

    world.mongo.pause();
    let text = MessageText::new("new").unwrap();
    let edit = EditMessage { actor: actor(anna), chat_id, seq: 1, text: text.clone(), mentions: vec![] };
    let mut edit = std::pin::pin!(world.call(edit));
    let texts: Vec<String> = (0..20).map(|n| format!("meanwhile {n}")).collect();
    tokio::select! {
        edited = &mut edit => panic!("it did not wait: {edited:?}"),
        sent = join_all(texts.iter().map(|text| world.send(chat_id, ben, text))) => assert_eq!(sent.len(), 20),
    }
    world.mongo.resume();
    assert_eq!(edit.await.unwrap().text, text);
    assert_eq!(world.history(chat_id, ben).await.unwrap().len(), 320);
}

#[tokio::test]
async fn pages_of_history_are_bounded_and_meet() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben] = people();
    let chat_id = world.direct(anna, ben).await.chat.id;
    for n in 1..=30 {
        world.send(chat_id, anna, &format!("m{n}")).await;
    }
    let page = async |before, after, limit| {
        let page = world.call(GetHistory { actor: actor(ben), chat_id, before, after, limit }).await.unwrap();
        (page.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), page.has_more)
    };
    assert_eq!(page(None, None, 3).await, (vec![28, 29, 30], true));
    assert_eq!(page(Some(28), None, 3).await, (vec![25, 26, 27], true));
    assert_eq!(page(None, Some(28), 50).await, (vec![29, 30], false));
    assert_eq!(page(None, Some(2), 3).await, (vec![3, 4, 5], true));
    assert_eq!(page(Some(6), Some(2), 50).await, (vec![3, 4, 5], false));
    assert_eq!(page(Some(3), None, 50).await, (vec![1, 2], false));
    assert_eq!(page(Some(1), None, 50).await, (vec![], false));
    assert_eq!(page(None, Some(30), 50).await, (vec![], false));
    for limit in [0, 201] {
        let get = GetHistory { actor: actor(ben), chat_id, before: None, after: None, limit };
        assert_eq!(world.call(get).await.unwrap_err().errors[0].field, "limit");
    }
}

#[tokio::test]
async fn a_page_of_the_longest_messages_fits_into_a_reply() {
    let world = World::start().await;
    let _chat = world.chat().await;
    let [anna, ben] = people();
    let chat_id = world.direct(anna, ben).await.chat.id;
    for n in 0..40 {
        let long = "🦀".repeat(8_000);
        let message = new_message(chat_id, &format!("c{n}"), &long);
        world.call(SendMessage { actor: actor(anna), message }).await.unwrap();
    }
    let history = world.history(chat_id, ben).await.unwrap();
    assert_eq!(history.iter().map(|message| message.seq).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
}

#[tokio::test]
async fn sends_go_on_after_nats_was_restarted() {
    let mut world = World::start().await;
    let (_one, _other) = (world.chat().await, world.chat().await);
    let [anna, ben] = people();
    let chat = world.direct(anna, ben).await.chat.id;
    world.send(chat, anna, "before").await;
    world.nats.kill().await;
    world.nats.start_again().await;
    eventually("a send goes through", SOON, async || world.try_send(chat, ben, "after").await.ok()).await;
    let texts: Vec<String> =
        world.history(chat, anna).await.unwrap().into_iter().map(|message| message.text.into_string()).collect();
    assert_eq!(texts, ["before", "after"]);
    eventually("the archive goes on too", SOON, async || (world.archived("messages").await.len() == 2).then_some(()))
        .await;
}
