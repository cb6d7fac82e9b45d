//! What a gateway says about those who are here, and what those hear of others.

use std::time::Duration;

use contract::{
    UserId,
    presence::{Presence, PresenceStatus},
    storage::{PRESENCE_BUCKET, PresenceKey},
};
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{Person, Running, SOON, World};

/// The bucket's entries of this kind: key and value.
async fn entries(world: &World, keys: &str) -> Vec<(PresenceKey, Value)> {
    // No bucket, no entries: NATS may have just begun anew.
    let values = service::last_values(&world.user, PRESENCE_BUCKET, &[keys.to_owned()]).await.unwrap_or_default();
    let entry = |value: &service::Logged| {
        Some((PresenceKey::parse(&value.subject)?, serde_json::from_slice(&value.payload).unwrap()))
    };
    values.iter().filter_map(entry).collect()
}

/// Waits until these people, and nobody else, are said to be here, as this.
async fn assert_here(world: &World, expected: &[(Person, &str)]) {
    eventually("sessions are as expected", SOON, async || {
        let entries = entries(world, "user.>").await;
        let all = expected.iter().all(|(person, status)| {
            entries.iter().any(|(key, value)| {
                matches!(key, PresenceKey::Session(user, _) if *user == person.id) && value["status"] == *status
            })
        });
        (all && entries.len() == expected.len()).then_some(())
    })
    .await;
}

/// What `user` would write.
async fn show(world: &World, user: UserId, status: PresenceStatus) {
    let online = status != PresenceStatus::Offline;
    let view = Presence { user_id: user, online, status, last_seen_at: None };
    let key = PresenceKey::View(user).to_string();
    let json = serde_json::to_vec(&view).unwrap();
    world.user.put(PRESENCE_BUCKET, &key, json.into(), None).await.unwrap();
}

/// `user` answers what the bucket says.
fn answer_from_bucket(world: &World) {
    let (nats, handle) = (world.user.clone(), tokio::runtime::Handle::current());
    world.answer("call.user.presence", move |body| {
        let (nats, ids) = (nats.clone(), body["userIds"].as_array().unwrap().clone());
        let read = async move {
            let mut seen = Vec::new();
            for id in ids {
                let key = format!("view.{}", id.as_str().unwrap());
                let values = service::last_values(&nats, PRESENCE_BUCKET, &[key]).await.unwrap();
                let offline = json!({ "userId": id, "online": false, "status": "offline", "lastSeenAt": null });
                let (presence, revision) = values
                    .first()
                    .map_or((offline, 0), |value| (serde_json::from_slice(&value.payload).unwrap(), value.sequence));
                seen.push(json!({ "presence": presence, "revision": revision }));
            }
            json!({ "presence": seen })
        };
        let handle = handle.clone();
        Ok(std::thread::scope(|scope| scope.spawn(move || handle.block_on(read)).join().unwrap()))
    });
}

async fn set(client: &testkit::socketio::Client, status: &str) {
    assert_eq!(client.request("presence:set", json!({ "status": status })).await, json!({ "ok": true }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_is_here_from_the_first_to_the_last_connection() {
    let world = World::start().await;
    let (one, other) = (world.gateway().await, world.gateway().await);
    let (anna, ben) = (Person::new(), Person::new());
    assert_eq!(entries(&world, "gateway.*").await.len(), 2);
    let phone = world.client(&one, anna).await;
    assert_here(&world, &[(anna, "online")]).await;
    let laptop = world.client(&one, anna).await;
    set(&laptop, "dnd").await;
    assert_here(&world, &[(anna, "dnd")]).await;
    let invisible = json!({ "token": world.token(ben), "status": "invisible" });
    let _ben = world.driver.connect_with(&other.url, invisible, json!({})).await.unwrap();
    assert_here(&world, &[(anna, "dnd"), (ben, "invisible")]).await;
    laptop.disconnect();
    assert_here(&world, &[(anna, "online"), (ben, "invisible")]).await;
    // A network that is lost for a moment changes nothing.
    let revision = async || {
        let values =
            service::last_values(&world.user, PRESENCE_BUCKET, &[format!("user.{}.*", anna.id)]).await.unwrap();
        values[0].sequence
    };
    let before = revision().await;
    let skip = phone.count();
    phone.drop_transport();
    phone.wait_after(skip, "connect", SOON).await;
    phone.disconnect();
    let again = world.client(&one, anna).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(revision().await, before);
    again.disconnect();
    assert_here(&world, &[(ben, "invisible")]).await;

    for (status, field) in [(json!("busy"), "status"), (json!(1), "status")] {
        let client = world.client(&one, anna).await;
        let ack = client.request("presence:set", json!({ "status": status })).await;
        assert_eq!((&ack["error"]["code"], &ack["error"]["errors"][0]["field"]), (&json!("invalid"), &json!(field)));
    }
    let wrong = json!({ "token": world.token(ben), "status": "busy" });
    assert_eq!(world.driver.connect_with(&other.url, wrong, json!({})).await.err().unwrap().message, "invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_hands_its_people_back_and_one_that_lost_its_lease_says_them_again() {
    let mut world = World::start().await;
    let (one, other) = (world.gateway().await, world.gateway().await);
    let (anna, ben) = (Person::new(), Person::new());
    let (_anna, _ben) = (world.client(&one, anna).await, world.client(&other, ben).await);
    assert_here(&world, &[(anna, "online"), (ben, "online")]).await;
    // As `user` does when a lease has expired.
    for (key, _) in [entries(&world, "gateway.*").await, entries(&world, "user.>").await].concat() {
        if matches!(key, PresenceKey::Session(..)) {
            world.user.delete(PRESENCE_BUCKET, &key.to_string()).await.unwrap();
        }
    }
    // Its memory is gone with NATS.
    world.nats.kill().await;
    world.nats.start_again().await;
    assert_here(&world, &[(anna, "online"), (ben, "online")]).await;
    assert_eq!(entries(&world, "gateway.*").await.len(), 2);

    stop(one).await;
    assert_here(&world, &[(ben, "online")]).await;
    assert_eq!(entries(&world, "gateway.*").await.len(), 1);
}

async fn stop(gateway: Running) {
    let started = std::time::Instant::now();
    gateway.lifecycle.stop();
    let mut gateway = gateway;
    (&mut gateway.ended).await.unwrap().unwrap();
    // Its people have two seconds to be elsewhere; it does not wait for what socketioxide keeps of closed sockets.
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_watches_hears_of_changes_and_only_who_watches() {
    let world = World::start().await;
    answer_from_bucket(&world);
    let gateway = world.gateway().await;
    let (anna, ben) = (Person::new(), Person::new());
    let (watcher, other) = (world.client(&gateway, anna).await, world.client(&gateway, anna).await);
    // What the gateway hears only while it is asked would be said besides the answer.
    let before = world.client(&gateway, anna).await;
    assert_eq!(before.request("presence:subscribe", json!({ "userIds": [ben.id] })).await["ok"], true);
    show(&world, ben.id, PresenceStatus::Away).await;
    before.wait("presence", |args| args[0]["status"] == "away", SOON).await;
    let ack = watcher.request("presence:subscribe", json!({ "userIds": [ben.id, anna.id] })).await;
    assert_eq!(
        ack,
        json!({ "ok": true, "presence": [
            { "userId": ben.id, "online": true, "status": "away", "lastSeenAt": null },
            { "userId": anna.id, "online": false, "status": "offline", "lastSeenAt": null },
        ] })
    );
    show(&world, ben.id, PresenceStatus::Dnd).await;
    watcher.wait("presence", |args| args[0]["userId"] == json!(ben.id) && args[0]["status"] == "dnd", SOON).await;
    show(&world, anna.id, PresenceStatus::Online).await;
    watcher.wait("presence", |args| args[0]["userId"] == json!(anna.id), SOON).await;
    assert_eq!(watcher.request("presence:unsubscribe", json!({ "userIds": [ben.id] })).await["ok"], true);
    show(&world, ben.id, PresenceStatus::Online).await;
    show(&world, anna.id, PresenceStatus::Away).await;
    watcher.wait("presence", |args| args[0]["status"] == "away", SOON).await;
    let heard: Vec<Value> =
        watcher.events_named("presence").into_iter().map(|args| args[0]["status"].clone()).collect();
    assert_eq!(heard, ["dnd", "online", "away"]);
    assert!(other.events_named("presence").is_empty());

    let people = |count: usize| (0..count).map(|_| UserId::new()).collect::<Vec<_>>();
    for _ in 0..2 {
        let ack = other.request("presence:subscribe", json!({ "userIds": people(500) })).await;
        assert_eq!(ack["presence"].as_array().unwrap().len(), 500);
    }
    for count in [501, 1] {
        let ack = other.request("presence:subscribe", json!({ "userIds": people(count) })).await;
        assert_eq!(ack["error"]["errors"][0]["field"], "userIds", "{ack}");
    }
    // By REST.
    let rest = world.rest(&gateway, anna);
    let many = rest.post("/api/presence", json!({ "userIds": [ben.id] })).await.expect(200);
    assert_eq!(many, json!([{ "userId": ben.id, "online": true, "status": "online", "lastSeenAt": null }]));
    assert_eq!(rest.post("/api/presence", json!({ "userIds": people(501) })).await.status, 422);
    assert_eq!(rest.get(&format!("/api/users/{}/presence", ben.id)).await.expect(200), many[0]);
    world.answer("call.user.get", |_| Err(contract::Refusal::not_found("user")));
    assert_eq!(rest.get(&format!("/api/users/{}/presence", UserId::new())).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_while_nats_was_away_is_said_afterwards() {
    let mut world = World::start().await;
    answer_from_bucket(&world);
    let gateway = world.gateway().await;
    let (anna, ben, carl) = (Person::new(), Person::new(), Person::new());
    show(&world, ben.id, PresenceStatus::Online).await;
    show(&world, carl.id, PresenceStatus::Online).await;
    let watcher = world.client(&gateway, anna).await;
    watcher.request("presence:subscribe", json!({ "userIds": [ben.id, carl.id] })).await;
    world.nats.kill().await;
    world.nats.start_again().await;
    // The bucket is new, and Ben is still there; Carl went meanwhile.
    let shown = async || service::Bucket::presence().ensure(&world.user).await.ok();
    eventually("the bucket is there", SOON, shown).await;
    show(&world, ben.id, PresenceStatus::Online).await;
    watcher.wait("presence", |args| args[0]["userId"] == json!(carl.id), SOON).await;
    let heard = watcher.events_named("presence");
    assert_eq!(heard, [[json!({ "userId": carl.id, "online": false, "status": "offline", "lastSeenAt": null })]]);
}

#[tokio::test]
async fn an_answer_to_one_is_no_news_to_others() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let shown = Person::new().id;
    let answer = |online: bool, revision: u64| {
        let status = if online { "online" } else { "offline" };
        let presence = json!({ "userId": shown, "online": online, "status": status, "lastSeenAt": null });
        world.answer("call.user.presence", move |_| {
            Ok(json!({ "presence": [{ "presence": presence, "revision": revision }] }))
        });
    };
    let (first, second) = (world.client(&gateway, Person::new()).await, world.client(&gateway, Person::new()).await);
    let watch = json!({ "userIds": [shown] });
    answer(false, 0);
    assert_eq!(first.request("presence:subscribe", watch.clone()).await["presence"][0]["online"], false);
    // It has changed, and the answer is quicker than the event.
    answer(true, 1_000_000);
    assert_eq!(second.request("presence:subscribe", watch).await["presence"][0]["online"], true);
    show(&world, shown, PresenceStatus::Online).await;
    first.wait("presence", |args| args[0]["online"] == true, SOON).await;
}
