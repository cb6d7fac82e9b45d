//! Who is there, as others see it: over devices, gateways and their deaths.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::{System, SystemOptions, eventually, rest::Rest, socketio::Driver};

use crate::sight::{Person, SOON, person};

/// A lease lives for 15 s, and what follows from its end has 5 s more.
const LEASE: Duration = Duration::from_secs(15 + 5);

/// Asks for somebody's presence and watches it.
async fn watch(watcher: &Person, whom: &Person) -> Value {
    let ack = watcher.socket.request("presence:subscribe", json!({ "userIds": [whom.id()] })).await;
    assert_eq!(ack["ok"], true, "{ack}");
    ack["presence"][0].clone()
}

/// Waits until the last that was heard of somebody, if anything, or else what is fetched, is `status`.
async fn assert_seen(watcher: &Person, whom: &Person, status: &str, deadline: Duration) -> Value {
    eventually(&format!("{} is {status}", whom.session.email), deadline, async || {
        let heard = watcher.socket.events_named("presence");
        let last = heard.iter().rev().find(|args| args[0]["userId"] == whom.id()).map(|args| args[0].clone());
        last.filter(|presence| presence["status"] == status)
    })
    .await
}

/// The same as it is fetched.
async fn fetched(watcher: &Person, whom: &Person) -> Value {
    watcher.rest.get(&format!("/api/users/{}/presence", whom.id())).await.expect(200)
}

/// Waits until somebody who has just connected is seen.
async fn online(watcher: &Person, whom: &Person) {
    eventually("they are online", SOON, async || (fetched(watcher, whom).await["online"] == true).then_some(())).await;
}

#[tokio::test]
async fn several_devices_on_several_gateways_are_one_person() {
    let system = System::start(SystemOptions { gateways: 2, users: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await);
    online(&anna, &ben).await;
    let first = watch(&anna, &ben).await;
    assert_eq!((&first["online"], &first["status"]), (&json!(true), &json!("online")));
    let set = async |status: &str| {
        assert_eq!(ben.socket.request("presence:set", json!({ "status": status })).await["ok"], true);
    };
    set("away").await;
    assert_seen(&anna, &ben, "away", SOON).await;
    // Somebody who is at one of their devices is there.
    let phone = driver.connect(&system.gateway(0).url(), &ben.session.access_token).await.unwrap();
    assert_seen(&anna, &ben, "online", SOON).await;
    set("dnd").await;
    assert_seen(&anna, &ben, "dnd", SOON).await;
    set("invisible").await;
    let hidden = assert_seen(&anna, &ben, "offline", SOON).await;
    assert_eq!((&hidden["online"], &hidden), (&json!(false), &fetched(&anna, &ben).await));
    set("online").await;
    assert_seen(&anna, &ben, "online", SOON).await;
    // The last device counts.
    let heard = anna.socket.events_named("presence").len();
    ben.socket.disconnect();
    phone.request("presence:set", json!({ "status": "away" })).await;
    assert_seen(&anna, &ben, "away", SOON).await;
    assert_eq!(anna.socket.events_named("presence").len(), heard + 1);
    let before = chrono_now();
    phone.disconnect();
    let gone = assert_seen(&anna, &ben, "offline", SOON).await;
    assert_eq!(gone["online"], false);
    assert!(*gone["lastSeenAt"].as_str().unwrap() >= *before, "{gone} {before}");
    let many = anna.rest.post("/api/presence", json!({ "userIds": [ben.id(), anna.id()] })).await.expect(200);
    assert_eq!((&many[0], &many[1]["online"]), (&gone, &json!(true)));
}

/// RFC 3339 sorts as text.
fn chrono_now() -> String {
    serde_json::to_value(contract::Time::now()).unwrap().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_gateway_killed_leaves_nobody_online() {
    let mut system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben, carl) = (
        person(&system, &driver, "anna", 0).await,
        person(&system, &driver, "ben", 1).await,
        person(&system, &driver, "carl", 1).await,
    );
    let _carls_phone = driver.connect(&system.gateway(0).url(), &carl.session.access_token).await.unwrap();
    for whom in [&ben, &carl] {
        online(&anna, whom).await;
        watch(&anna, whom).await;
    }
    system.instance("gateway", 1).kill().await;
    let killed = Instant::now();
    let gone = assert_seen(&anna, &ben, "offline", LEASE).await;
    println!("from kill -9 of a gateway to the offline event: {:.1} s", killed.elapsed().as_secs_f64());
    assert!(gone["lastSeenAt"].is_string());
    assert_eq!(fetched(&anna, &carl).await["online"], true);
    assert!(anna.socket.events_named("presence").iter().all(|args| args[0]["userId"] != carl.id()));

    // The same while nobody who could notice is there.
    system.start_again("gateway", 1).await;
    assert_seen(&anna, &ben, "online", SOON).await;
    system.instance("user", 0).kill().await;
    system.instance("gateway", 1).kill().await;
    tokio::time::sleep(LEASE).await;
    assert_eq!(anna.rest.get(&format!("/api/users/{}/presence", ben.id())).await.status, 503);
    let heard = anna.socket.count();
    system.start_again("user", 0).await;
    anna.socket.wait_after(heard, "presence", SOON).await;
    assert_eq!(fetched(&anna, &ben).await["online"], false);
    assert_eq!(fetched(&anna, &carl).await["online"], true);
}

#[tokio::test]
async fn nats_restarted_and_presence_is_right_again() {
    let mut system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben, carl) = (
        person(&system, &driver, "anna", 0).await,
        person(&system, &driver, "ben", 1).await,
        person(&system, &driver, "carl", 1).await,
    );
    for whom in [&ben, &carl] {
        online(&anna, whom).await;
        watch(&anna, whom).await;
    }
    ben.socket.request("presence:set", json!({ "status": "dnd" })).await;
    let before = assert_seen(&anna, &ben, "dnd", SOON).await;
    system.nats.kill().await;
    // Carl goes while nobody can be told.
    carl.socket.disconnect();
    system.nats.start_again().await;
    let started = Instant::now();
    eventually("Ben is there as before", SOON, async || {
        let answer = anna.rest.get(&format!("/api/users/{}/presence", ben.id())).await;
        (answer.status == 200 && answer.body["status"] == "dnd").then_some(())
    })
    .await;
    println!("from NATS' return to right presence: {:.1} s", started.elapsed().as_secs_f64());
    assert_seen(&anna, &carl, "offline", SOON).await;
    println!("until those who watch know who has gone meanwhile: {:.1} s", started.elapsed().as_secs_f64());
    // He has been there all along.
    assert_eq!(fetched(&anna, &ben).await, before);
    // Nobody was told anything wrong meanwhile.
    let heard = anna.socket.events_named("presence");
    assert!(heard.iter().all(|args| args[0]["userId"] != ben.id() || args[0]["status"] == "dnd"), "{heard:?}");
    // Presence goes on.
    let rest = Rest::new(system.gateway(1).url()).with_token(&ben.session.access_token);
    assert_eq!(rest.get(&format!("/api/users/{}/presence", anna.id())).await.expect(200)["online"], true);
    ben.socket.request("presence:set", json!({ "status": "away" })).await;
    assert_seen(&anna, &ben, "away", SOON).await;
}
