//! What push services refuse, and where we do not go.

use std::time::{Duration, Instant};

use bson::{DateTime, doc};
use contract::{
    NotificationId, Time, UserId,
    push::{About, PushJob},
};
use testkit::push::Fault;

use crate::push_world::{World, job, said};

#[tokio::test]
async fn a_subscription_that_has_ended_is_removed() {
    let world = World::start().await;
    let anna = UserId::new();
    let [stays, unknown, gone] = world.browsers(anna).await;
    world.service.fail(&unknown, Fault::status(404), 1);
    world.service.fail(&gone, Fault::status(410), 1);
    world.push(&job(anna, "x"), "one").await;
    world.service.wait_for(&stays, 1).await;
    world.settled().await;
    let stored = world.stored().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].get_str("endpoint").unwrap(), stays.endpoint());
    world.wait_for_outcome("gone", 2).await;
}

#[tokio::test]
async fn what_will_never_be_taken_is_dropped_and_said() {
    let world = World::start().await;
    let anna = UserId::new();
    let browsers: [_; 5] = world.browsers(anna).await;
    for (browser, status) in browsers.iter().zip([400, 401, 403, 413, 301]) {
        world.service.fail(browser, Fault::status(status), 1);
    }
    world.push(&job(anna, "x"), "one").await;
    world.wait_for_outcome("refused", 4).await;
    world.wait_for_outcome("too_large", 1).await;
    world.settled().await;
    for browser in &browsers {
        assert_eq!(world.service.tries(browser), 1);
    }
    assert_eq!(world.stored().await.len(), 5, "the subscriptions stay");
    for status in ["400", "401", "403"] {
        assert!(world.mail.log().contains(&format!("why=\"{status} ")), "{}", world.mail.log());
    }
}

#[tokio::test]
async fn who_has_not_got_it_gets_it_later_and_nobody_gets_it_twice() {
    let world = World::start().await;
    let anna = UserId::new();
    let [well, busy, broken, closing] = world.browsers(anna).await;
    world.service.fail(&busy, Fault::status(429), 2);
    world.service.fail(&broken, Fault::status(500), 3);
    world.service.fail(&closing, Fault::Close, 2);
    world.push(&job(anna, "x"), "one").await;
    for (browser, tries) in [(&well, 1), (&busy, 3), (&broken, 4), (&closing, 3)] {
        assert_eq!(world.service.wait_for(browser, 1).await[0].payload, said("x"));
        assert!(world.service.tries(browser) >= tries);
    }
    world.settled().await;
    for (browser, tries) in [(&well, 1), (&busy, 3), (&broken, 4)] {
        assert_eq!((world.service.messages(browser).len(), world.service.tries(browser)), (1, tries));
    }
    assert_eq!(world.service.messages(&closing).len(), 1);
}

#[tokio::test]
async fn retry_after_is_waited_for() {
    let world = World::start().await;
    let (anna, ben) = (UserId::new(), UserId::new());
    // Alone, and with another one: those take different ways through the queue.
    let [alone] = world.browsers(anna).await;
    let [one, _other] = world.browsers(ben).await;
    world.service.fail(&alone, Fault::retry_after(429, 2), 1);
    world.service.fail(&one, Fault::retry_after(503, 2), 1);
    let start = Instant::now();
    world.push(&job(anna, "x"), "one").await;
    world.push(&job(ben, "x"), "two").await;
    for browser in [&alone, &one] {
        world.service.wait_for(browser, 1).await;
        assert!(start.elapsed() >= Duration::from_secs(2));
        assert_eq!(world.service.tries(browser), 2);
    }
    world.settled().await;
}

#[tokio::test]
async fn what_waits_for_one_browser_survives_a_crash_and_the_others_do_not_get_it_again() {
    let mut world = World::start().await;
    let anna = UserId::new();
    let [well, busy] = world.browsers(anna).await;
    world.service.fail(&busy, Fault::retry_after(503, 3), 1);
    world.push(&job(anna, "x"), "one").await;
    world.wait_for_outcome("retried", 1).await;
    // The job for both is done, the one for the busy browser waits.
    world.mail.stop().await;
    world.mail.start_again().await;
    world.service.wait_for(&busy, 1).await;
    world.settled().await;
    assert_eq!(world.service.tries(&well), 1);
}

#[tokio::test]
async fn a_push_service_that_does_not_answer_is_given_up_in_time() {
    let world = World::with(&[("TIMEOUT", "300ms")]).await;
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    world.service.fail(&browser, Fault::Hang, 2);
    world.push(&job(anna, "x"), "one").await;
    world.service.wait_for(&browser, 1).await;
    assert_eq!(world.service.tries(&browser), 3);
}

#[tokio::test]
async fn nobody_tries_past_the_end_of_a_push() {
    let world = World::start().await;
    let anna = UserId::new();
    let [browser, other] = world.browsers(anna).await;
    world.service.fail(&browser, Fault::retry_after(429, 60), 9);
    world.service.fail(&other, Fault::status(500), 9_999);
    world.push(&PushJob { expires_at: Time::now().plus(Duration::from_secs(2)), ..job(anna, "x") }, "one").await;
    world.wait_for_outcome("given_up", 2).await;
    world.settled().await;
    assert_eq!(world.service.tries(&browser), 1);
    assert!(world.service.tries(&other) > 2);
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let world = World::start().await;
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    let elsewhere = world.service.browser();
    for status in [301, 302, 303, 307, 308] {
        let location = vec![("Location", elsewhere.endpoint().to_owned())];
        world.service.fail(&browser, Fault::Answer(status, location), 1);
        world.push(&job(anna, "x"), &status.to_string()).await;
    }
    world.wait_for_outcome("refused", 5).await;
    assert_eq!((world.service.tries(&browser), world.service.tries(&elsewhere)), (5, 0));
}

#[tokio::test]
async fn certificates_are_checked() {
    // The push service's own certificate is not trusted: an empty list of further ones.
    let world = World::with(&[("CA", "/dev/null"), ("RETRY__ATTEMPTS", "2")]).await;
    let anna = UserId::new();
    let [browser] = world.browsers(anna).await;
    world.push(&job(anna, "x"), "one").await;
    world.wait_for_outcome("given_up", 1).await;
    assert!(world.mail.log().contains("certificate"), "{}", world.mail.log());
    assert_eq!(world.service.tries(&browser), 0);
}

#[tokio::test]
async fn a_stored_endpoint_that_leads_to_ourselves_is_not_asked() {
    let world = World::with(&[("ALLOW_PRIVATE", "false")]).await;
    let anna = UserId::new();
    let subscription = world.service.browser().subscription();
    let port = world.service.port();
    // None of these could be subscribed now. Names that only the resolver knows to be ours are a unit test of the client.
    let endpoints = [
        format!("https://localhost:{port}/a"),
        format!("http://127.0.0.1:{port}/a"),
        "https://localhost/a".to_owned(),
        "https://[::1]/a".to_owned(),
        "https://169.254.169.254/latest/meta-data".to_owned(),
        "https://127.1/a".to_owned(),
        "https://0x7f.0.1/a".to_owned(),
    ];
    for (index, endpoint) in endpoints.iter().enumerate() {
        let keys = bson::serialize_to_bson(&subscription["keys"]).unwrap();
        let now = DateTime::now();
        let document = doc! { "_id": index.to_string(), "userId": anna.to_string(), "endpoint": endpoint, "keys": keys,
        "createdAt": now, "lastUsedAt": now };
        world.collection().await.insert_one(document).await.unwrap();
    }
    world.push(&job(anna, "x"), "one").await;
    world.wait_for_outcome("blocked", endpoints.len() as u64).await;
    world.settled().await;
    assert_eq!(world.service.connections(), 0);
}

#[tokio::test]
async fn what_has_been_read_or_told_anew_is_not_tried_again() {
    let world = World::start().await;
    let notifications = world.mail.mongo.connect().await.collection("notifications");
    // Two browsers each: the one that has not got it goes on alone.
    for (text, read_at, at, again) in
        [("told anew", None, 6, 0), ("read", Some("then"), 5, 0), ("as it was", None, 5, 1)]
    {
        let (user, notification) = (UserId::new(), NotificationId::new());
        let stored = doc! { "_id": notification.to_string(), "readAt": read_at, "at": at };
        notifications.insert_one(stored).await.unwrap();
        let [alone] = world.browsers(user).await;
        let other = UserId::new();
        let [well, busy] = world.browsers(other).await;
        world.service.fail(&alone, Fault::status(503), 1);
        world.service.fail(&busy, Fault::status(503), 1);
        for user_id in [user, other] {
            let about = Some(About { notification, at: 5 });
            world.push(&PushJob { user_id, about, ..job(user, text) }, &format!("{text}.{user_id}")).await;
        }
        world.service.wait_for(&well, 1).await;
        world.settled().await;
        for browser in [&alone, &busy] {
            assert_eq!(world.service.messages(browser).len(), again, "{text}");
        }
    }
    world.wait_for_outcome("over", 4).await;
}
