//! Subscriptions come, move and end.

use contract::{Code, UserId, push::MAX_SUBSCRIPTIONS};
use serde_json::json;

use crate::push_world::{World, job};

#[tokio::test]
async fn a_browser_is_its_latest_users() {
    let world = World::start().await;
    let (anna, ben) = (UserId::new(), UserId::new());
    let [browser] = world.browsers(anna).await;
    world.subscribe(ben, browser.subscription()).await.unwrap();
    let stored = world.stored().await;
    assert_eq!(stored.len(), 1);
    assert_eq!(stored[0].get_str("userId").unwrap(), ben.to_string());
    world.push(&job(anna, "for anna"), "one").await;
    world.settled().await;
    assert_eq!(world.service.tries(&browser), 0);
    world.push(&job(ben, "for ben"), "two").await;
    world.service.wait_for(&browser, 1).await;
}

#[tokio::test]
async fn one_ends_ones_own() {
    let world = World::start().await;
    let (anna, ben) = (UserId::new(), UserId::new());
    let [browser] = world.browsers(anna).await;
    world.end(ben, &browser).await;
    assert_eq!(world.stored().await.len(), 1);
    world.end(anna, &browser).await;
    assert_eq!(world.stored().await.len(), 0);
    // Again is no mistake.
    world.end(anna, &browser).await;
}

#[tokio::test]
async fn the_oldest_makes_way() {
    let world = World::start().await;
    let (anna, ben) = (UserId::new(), UserId::new());
    let [bens] = world.browsers(ben).await;
    let browsers: [_; MAX_SUBSCRIPTIONS] = world.browsers(anna).await;
    // One that subscribes again, with new keys, is not a further one, and no younger.
    let mut again = browsers[0].subscription();
    again["keys"] = world.service.browser().subscription()["keys"].clone();
    world.subscribe(anna, again.clone()).await.unwrap();
    let first = world.stored().await.into_iter().find(|one| one.get_str("endpoint").unwrap() == browsers[0].endpoint());
    let keys = first.unwrap().get_document("keys").unwrap().clone();
    assert_eq!(json!(keys.get_str("auth").unwrap()), again["keys"]["auth"]);

    let [one_more] = world.browsers(anna).await;
    let stored = world.stored().await;
    let endpoints: Vec<_> = stored.iter().map(|one| one.get_str("endpoint").unwrap()).collect();
    assert_eq!(endpoints.len(), MAX_SUBSCRIPTIONS + 1);
    assert!(!endpoints.contains(&browsers[0].endpoint()), "the oldest");
    for kept in [&browsers[1], &one_more, &bens] {
        assert!(endpoints.contains(&kept.endpoint()));
    }
}

#[tokio::test]
async fn what_cannot_be_pushed_to_is_refused_and_the_field_is_named() {
    let world = World::with(&[("ALLOW_PRIVATE", "false")]).await;
    let good = || {
        let mut subscription = world.service.browser().subscription();
        subscription["endpoint"] = json!("https://push.example.org/a");
        subscription
    };
    world.subscribe(UserId::new(), good()).await.unwrap();
    let long = format!("https://push.example.org/{}", "a".repeat(2_000));
    for (pointer, field, wrong) in [
        ("/endpoint", "endpoint", "http://push.example.org/a"),
        ("/endpoint", "endpoint", "https://push.example.org:8443/a"),
        ("/endpoint", "endpoint", "https://localhost/a"),
        ("/endpoint", "endpoint", "https://10.0.0.1/a"),
        ("/endpoint", "endpoint", "https://[::1]/a"),
        ("/endpoint", "endpoint", &long),
        ("/endpoint", "endpoint", ""),
        ("/keys/p256dh", "keys.p256dh", "BAAA"),
        ("/keys/auth", "keys.auth", "AAAA"),
    ] {
        let mut subscription = good();
        *subscription.pointer_mut(pointer).unwrap() = json!(wrong);
        let refusal = world.subscribe(UserId::new(), subscription).await.unwrap_err();
        assert_eq!((refusal.code, refusal.errors[0].field.as_str()), (Code::Invalid, field), "{wrong}");
    }
    assert_eq!(world.stored().await.len(), 1);
}
