//! Connecting, and being disconnected.

use contract::{Refusal, SessionId};
use serde_json::json;
use testkit::{eventually, rest::Rest};

use crate::world::{Person, SOON, World};

#[tokio::test]
async fn a_bad_token_is_refused_with_the_code() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let good = world.token(person);
    let (content, _) = good.rsplit_once('.').unwrap();
    let expired = world.token_for(person, -1);
    for token in ["", "x", "a.b.c", &expired, &format!("{content}.AAAA")] {
        let error = world.driver.connect(&gateway.url, token).await.err().expect("refused");
        assert_eq!(error.message, "unauthenticated", "{token}");
    }
    for auth in [json!({}), json!(null), json!({ "token": 1 }), json!({ "token": [good] }), json!("x")] {
        let once = json!({ "transports": ["websocket"], "reconnection": false });
        let error = world.driver.connect_with(&gateway.url, auth, once).await.err().expect("refused");
        assert_eq!(error.message, "unauthenticated");
    }
    world.client(&gateway, person).await;
}

#[tokio::test]
async fn without_chats_a_connection_is_unavailable() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    world.answer("call.chat.rooms", |_| Err(Refusal::unavailable("No.")));
    let error = world.driver.connect(&gateway.url, &world.token(Person::new())).await.err().expect("refused");
    assert_eq!(error.message, "unavailable");
}

#[tokio::test]
async fn a_revoked_session_is_disconnected_everywhere_and_stays_out() {
    let world = World::start().await;
    let (one, other) = (world.gateway().await, world.gateway().await);
    let person = Person::new();
    let elsewhere = Person { session: SessionId::new(), ..person };
    let clients = [
        world.client(&one, person).await,
        world.client(&other, person).await,
        world.driver.connect_polling(&one.url, &world.token(person)).await.unwrap(),
    ];
    let bystander = world.client(&one, elsewhere).await;

    world.revoke(person.session).await;
    for client in &clients {
        assert_eq!(client.wait("session:revoked", |_| true, SOON).await, [json!({})]);
        client.wait("disconnect", |args| args[0] == "io server disconnect", SOON).await;
    }
    let error = world.driver.connect(&other.url, &world.token(person)).await.err().expect("refused");
    assert_eq!(error.message, "unauthenticated");
    assert_eq!(world.rest(&one, person).get("/api/auth/me").await.status, 401);

    assert!(bystander.events_named("disconnect").is_empty());
    // A gateway that starts afterwards knows as well.
    let late = world.gateway().await;
    assert_eq!(world.rest(&late, person).get("/api/auth/me").await.status, 401);
}

#[tokio::test]
async fn revocations_are_heard_of_after_nats_was_away() {
    let mut world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let client = world.client(&gateway, person).await;
    world.nats.stop().await;
    world.nats.start_again().await;
    let session = person.session;
    eventually("NATS to take writes again", SOON, async || {
        let key = contract::storage::revoked_key(session);
        world.user.put("REVOKED", &key, "{}".into(), None).await.ok()
    })
    .await;
    client.wait("session:revoked", |_| true, SOON).await;
}

#[tokio::test]
async fn an_expired_token_ends_the_connection_unless_prolonged() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (expiring, prolonging) = (Person::new(), Person::new());
    let short = world.driver.connect(&gateway.url, &world.token_for(expiring, 2)).await.unwrap();
    let long = world.driver.connect(&gateway.url, &world.token_for(prolonging, 2)).await.unwrap();

    let other = world.token(Person::new());
    assert_eq!(long.request("auth:refresh", json!({ "token": other })).await["error"]["code"], "forbidden");
    assert_eq!(long.request("auth:refresh", json!({ "token": "x" })).await["error"]["code"], "unauthenticated");
    let ack = long.request("auth:refresh", json!({ "token": world.token(prolonging) })).await;
    assert_eq!(ack, json!({ "ok": true }));

    assert_eq!(short.wait("session:expired", |_| true, SOON).await, [json!({})]);
    short.wait("disconnect", |args| args[0] == "io server disconnect", SOON).await;
    assert!(long.events_named("disconnect").is_empty());
}

#[tokio::test]
async fn a_gateway_that_stops_sends_its_clients_elsewhere() {
    let world = World::start().await;
    let mut gateway = world.gateway().await;
    let client = world.client(&gateway, Person::new()).await;
    gateway.lifecycle.stop();
    // Not "io server disconnect", after which the client would not reconnect.
    client.wait("disconnect", |args| args[0] == "transport close", SOON).await;
    tokio::time::timeout(SOON, &mut gateway.ended).await.expect("it ends").unwrap().expect("it ends well");
}

#[tokio::test]
async fn without_keys_nobody_is_let_in_and_readiness_says_why() {
    let world = World::start().await;
    world.answer("call.user.jwks", |_| Err(Refusal::unavailable("No.")));
    let person = Person::new();
    let gateway = world.unready_gateway(|_| ()).await;
    let admin = Rest::new(&gateway.admin);
    let ready = eventually("all but the keys", SOON, async || {
        let ready = admin.get("/readyz").await;
        (ready.body["missing"] == json!(["jwks"])).then_some(ready)
    });
    assert_eq!(ready.await.status, 503);
    assert_eq!(world.rest(&gateway, person).get("/api/auth/me").await.status, 503);
    let once = json!({ "transports": ["websocket"], "reconnection": false });
    let auth = json!({ "token": world.token(person) });
    let refused = world.driver.connect_with(&gateway.url, auth, once).await.err().expect("refused");
    assert_eq!(refused.message, "unavailable");

    world.answer_by_default();
    eventually("readiness", SOON, async || (admin.get("/readyz").await.status == 200).then_some(())).await;
    world.client(&gateway, person).await;
    let metrics = admin.get("/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("natter_gateway_sockets"), "{metrics}");
}
