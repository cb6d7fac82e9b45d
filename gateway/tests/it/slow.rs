//! Clients that read too slowly, or not at all.

use contract::{ChatId, storage::PRESENCE_BUCKET};
use serde_json::{Value, json};
use testkit::eventually;

use crate::{
    raw::{Raw, Stalled},
    world::{Person, Running, SOON, World},
};

/// Sends messages of this size, each once the brisk client has the one before, until `enough` or 2,000 are sent.
async fn flood(world: &World, chat: ChatId, gateway: &Running, person: Person, enough: impl AsyncFn() -> bool) {
    let brisk = world.client(gateway, person).await;
    let text = "x".repeat(10_000);
    let mut sent = 0;
    while sent < 50 || (sent < 2_000 && !enough().await) {
        world.append(chat, "message:new", &json!({ "n": sent, "text": text }).to_string()).await;
        brisk.wait("message:new", |args| args[0]["n"] == sent, SOON).await;
        sent += 1;
    }
    // Nothing was kept from one who reads.
    let seen: Vec<Value> = brisk.events_named("message:new").iter().map(|args| args[0]["n"].clone()).collect();
    assert_eq!(seen, (0..sent).map(Value::from).collect::<Vec<_>>());
    assert!(brisk.events_named("disconnect").is_empty());
}

/// Whether the gateway holds no connection of this person any more.
async fn is_gone(world: &World, person: Person) -> bool {
    let keys = [format!("user.{}.*", person.id)];
    service::last_values(&world.user, PRESENCE_BUCKET, &keys).await.unwrap().is_empty()
}

#[tokio::test]
async fn a_websocket_that_is_not_read_is_cut_off_and_slows_nobody() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.socket.buffer = 16).await;
    let (slow, brisk) = (Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[slow, brisk]);
    let mut stalled = Stalled::connect(&gateway.url, &world.token(slow)).await;
    // What the kernel takes for it has to be filled first.
    flood(&world, chat, &gateway, brisk, async || is_gone(&world, slow).await).await;
    // It ended without the client having read anything, long before a ping would have told.
    eventually("the connection is cut", SOON, async || is_gone(&world, slow).await.then_some(())).await;
    let all = stalled.read_to_the_end().await;
    assert!(all.matches("message:new").count() < 2_000);
}

#[tokio::test]
async fn one_that_polls_too_seldom_has_to_connect_again() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.socket.buffer = 16).await;
    let (slow, brisk) = (Person::new(), Person::new());
    let chat = ChatId::new();
    world.join_quietly(chat, &[slow, brisk]);
    let polling = Raw::connect(&gateway.url, &world.token(slow)).await;
    flood(&world, chat, &gateway, brisk, async || true).await;
    eventually("the session is over", SOON, async || (polling.status().await == 400).then_some(())).await;
    let again = world.client(&gateway, slow).await;
    world.append(chat, "message:new", r#"{"n":"again"}"#).await;
    again.wait("message:new", |args| args[0]["n"] == "again", SOON).await;
}

#[tokio::test]
async fn one_that_catches_up_in_time_hears_why_it_has_to_go_and_comes_back() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.socket.buffer = 4).await;
    let person = Person::new();
    let chats: Vec<ChatId> = (0..300).map(|_| ChatId::new()).collect();
    for chat in &chats {
        world.join_quietly(*chat, &[person]);
    }
    let client = world.client(&gateway, person).await;
    // More at once than its buffer holds.
    let appends = chats.iter().map(|chat| world.append(*chat, "message:new", r#"{"n":1}"#));
    futures::future::join_all(appends).await;
    client.wait("connection:slow", |_| true, SOON).await;
    client.wait("disconnect", |args| args[0] == "transport close" || args[0] == "transport error", SOON).await;
    let skip = client.count();
    client.wait_after(skip.saturating_sub(1), "connect", SOON).await;
}

#[tokio::test]
async fn one_whose_answers_do_not_fit_is_cut_off_rather_than_left_waiting() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.socket.buffer = 4).await;
    let client = world.client(&gateway, Person::new()).await;
    // Sent in one go, answered at once.
    let asked = (0..500).map(|_| client.try_request("presence:set", json!({ "status": "away" }), SOON));
    let (answers, _) = tokio::join!(
        futures::future::join_all(asked),
        client.wait("disconnect", |args| args[0] == "transport close" || args[0] == "transport error", SOON)
    );
    assert!(answers.iter().any(Option::is_none));
}
