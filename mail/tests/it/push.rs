//! Pushes arrive: encrypted, signed for, at every browser of a user, and nowhere else.

use std::time::Duration;

use contract::{
    ChatId, Code, Time, UserId,
    push::{PUSH_SUBJECT, PushJob, Topic, Urgency},
};
use serde_json::json;

use crate::push_world::{World, job, said};

#[tokio::test]
async fn a_push_arrives_at_every_browser_of_its_user() {
    let world = World::start().await;
    let (anna, ben) = (UserId::new(), UserId::new());
    let [phone, laptop] = world.browsers(anna).await;
    let [bens] = world.browsers(ben).await;
    let chat = ChatId::new();
    let job =
        PushJob { topic: Some(Topic::of_chat(chat)), ttl_seconds: 60, urgency: Urgency::Low, ..job(anna, "hush") };
    world.push(&job, "one").await;
    // Asked for twice, it is pushed once.
    world.push(&job, "one").await;

    let key = world.key().await.unwrap().public_key;
    for browser in [&phone, &laptop] {
        let message = world.service.wait_for(browser, 1).await.remove(0);
        assert_eq!((message.payload, message.ttl), (said("hush"), 60));
        assert_eq!(message.topic.as_deref(), Some(chat.to_string().replace('-', "").as_str()));
        assert_eq!(message.urgency.as_deref(), Some("low"));
        assert_eq!(message.contact, "mailto:operator@example.org");
        assert_eq!(message.signer, key);
    }
    world.settled().await;
    assert_eq!((world.service.tries(&phone), world.service.tries(&laptop), world.service.tries(&bens)), (1, 1, 0));
    world.wait_for_outcome("sent", 2).await;
    let (log, path) = (world.mail.log(), phone.endpoint().rsplit('/').next().unwrap().to_owned());
    assert!(!log.contains("hush") && !log.contains(&path), "neither messages nor endpoints are logged: {log}");
}

#[tokio::test]
async fn without_a_topic_and_with_all_that_fits() {
    let world = World::start().await;
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    let text = "ä".repeat(1_490);
    world.push(&PushJob { topic: None, ..job(anna, &text) }, "one").await;
    let message = world.service.wait_for(&browser, 1).await.remove(0);
    assert_eq!((message.topic, message.payload), (None, said(&text)));

    world.push(&job(anna, &"a".repeat(3_000)), "two").await;
    world.wait_for_outcome("too_large", 1).await;
    world.settled().await;
    assert_eq!(world.service.tries(&browser), 1);
}

#[tokio::test]
async fn a_message_replaces_an_earlier_one_of_its_topic() {
    let world = World::start().await;
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    let (one, other) = (job(anna, "1"), job(anna, "other"));
    let two = PushJob { payload: job(anna, "2").payload, ..one.clone() };
    for (index, job) in [&one, &other, &two].into_iter().enumerate() {
        world.push(job, &index.to_string()).await;
        world.service.wait_for(&browser, index + 1).await;
    }
    let waiting: Vec<_> = world.service.waiting(&browser).into_iter().map(|message| message.payload).collect();
    assert_eq!(waiting, [said("other"), said("2")]);
}

#[tokio::test]
async fn connections_are_used_again() {
    let world = World::start().await;
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    for index in 0..10 {
        world.push(&job(anna, "x"), &index.to_string()).await;
        world.service.wait_for(&browser, index + 1).await;
        // Its answer is read by then, or else its connection would not be free.
        world.settled().await;
    }
    assert!(world.service.connections() <= 2, "{}", world.service.connections());
}

#[tokio::test]
async fn what_has_expired_is_not_pushed() {
    let world = World::start().await;
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    world.push(&PushJob { expires_at: Time::now(), ..job(anna, "x") }, "one").await;
    world.wait_for_outcome("expired", 1).await;
    world.settled().await;
    assert_eq!(world.service.tries(&browser), 0);
}

#[tokio::test]
async fn what_is_no_push_or_for_nobody_is_dropped() {
    let world = World::start().await;
    let mut wrong = serde_json::to_value(job(UserId::new(), "x")).unwrap();
    wrong["topic"] = json!("not a topic");
    for (index, body) in [b"{".to_vec(), serde_json::to_vec(&wrong).unwrap()].into_iter().enumerate() {
        world.mail.publish(PUSH_SUBJECT, body, Some(&index.to_string())).await;
    }
    world.wait_for_outcome("malformed", 2).await;
    world.push(&job(UserId::new(), "x"), "nobody").await;
    world.settled().await;
    assert!(world.service.requests().is_empty());
}

#[tokio::test]
async fn without_a_key_nothing_is_pushed_and_everybody_is_told() {
    let world = World::with(&[("VAPID_KEY", "")]).await;
    world.mail.wait_for_log("Web Push is off").await;
    let anna = UserId::new();
    let refusals = [
        world.key().await.unwrap_err(),
        world.subscribe(anna, world.service.browser().subscription()).await.unwrap_err(),
    ];
    for refusal in refusals {
        assert_eq!(refusal.code, Code::Unavailable);
        assert!(refusal.message.contains("does not push"), "{refusal}");
    }
    world.push(&job(anna, "x"), "one").await;
    world.wait_for_outcome("off", 1).await;
    world.settled().await;
}

#[tokio::test]
async fn the_key_is_the_same_after_a_restart() {
    let mut world = World::start().await;
    let before = world.key().await.unwrap().public_key;
    world.mail.start_again().await;
    assert_eq!(world.key().await.unwrap().public_key, before);
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    world.push(&PushJob { expires_at: Time::now().plus(Duration::from_mins(1)), ..job(anna, "x") }, "one").await;
    world.service.wait_for(&browser, 1).await;
}
