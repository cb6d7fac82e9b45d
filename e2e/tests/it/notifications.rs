//! What reaches people who are not looking: in the application, in the browser, by letter.

use std::time::Duration;

use futures::future::join_all;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use testkit::{System, SystemOptions, eventually, push::PushService, rest::Rest, socketio::Driver, until};

use crate::sight::{Person, SOON, person};

/// Everything, with short delays.
async fn system(more: Vec<(String, String)>) -> System {
    let mut options = SystemOptions::default().with("NATTER_DIGEST__AFTER", "1s");
    options.env.extend(more);
    System::start(options).await
}

async fn group(owner: &Person, members: &[&Person]) -> String {
    let ids: Vec<&str> = members.iter().map(|member| member.id()).collect();
    let group = json!({ "type": "group", "name": "Walkers", "memberIds": ids });
    owner.rest.post("/api/chats", group).await.expect(201)["id"].as_str().unwrap().to_owned()
}

async fn send(sender: &Person, chat: &str, text: &str, more: Value) -> Value {
    let mut message = json!({ "chatId": chat, "clientId": text.replace(' ', "-"), "text": text });
    message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sender.rest.post("/api/messages", message).await.expect(201)
}

async fn list(person: &Person, query: &str) -> Vec<Value> {
    let page = person.rest.get(&format!("/api/notifications{query}")).await.expect(200);
    page["notifications"].as_array().unwrap().clone()
}

/// Waits until the unread notifications are these, as `[type, count, preview]`, the latest first.
async fn assert_unread(person: &Person, expected: Value) -> Vec<Value> {
    assert_unread_within(SOON, person, expected).await
}

/// What an instance that was killed had in hand comes to another one 15 s later.
const AFTER_A_DEATH: Duration = Duration::from_mins(1);

async fn assert_unread_within(deadline: Duration, person: &Person, expected: Value) -> Vec<Value> {
    let mut last = Value::Null;
    let found = until("the unread notifications", deadline, async || {
        let unread = list(person, "?unread=true").await;
        last = unread.iter().map(|one| json!([one["type"], one["count"], one["preview"]])).collect();
        (last == expected).then_some(unread)
    });
    found.await.unwrap_or_else(|late| panic!("{late}: {last}, not {expected}"))
}

#[tokio::test]
async fn what_is_written_comes_once_coalesces_and_is_read_with_its_chat() {
    let system = system(Vec::new()).await;
    let driver = Driver::start().await;
    let (anna, ben, carl) = (
        person(&system, &driver, "anna", 0).await,
        person(&system, &driver, "ben", 0).await,
        person(&system, &driver, "carl", 0).await,
    );
    let chat = group(&anna, &[&ben, &carl]).await;
    assert_unread(&ben, json!([["added", 1, "Walkers"]])).await;
    send(&anna, &chat, "one", json!({})).await;
    let live = ben.socket.wait("notification:new", |args| args[0]["type"] == "message", SOON).await;
    assert_eq!((&live[0]["chatId"], &live[0]["from"], &live[0]["count"]), (&json!(chat), &json!(anna.id()), &json!(1)));
    send(&anna, &chat, "two", json!({})).await;
    send(&carl, &chat, "three", json!({ "mentions": [ben.id()] })).await;
    let unread = assert_unread(&ben, json!([["mention", 3, "three"], ["added", 1, "Walkers"]])).await;
    assert_eq!(
        (&unread[0]["id"], &unread[0]["seq"], &unread[0]["from"]),
        (&live[0]["id"], &json!(3), &json!(carl.id()))
    );
    ben.socket.wait("notification:updated", |args| args[0]["count"] == 3, SOON).await;
    // Never of one's own, and an answer is told as one.
    assert_unread(&carl, json!([["message", 2, "two"], ["added", 1, "Walkers"]])).await;
    send(&ben, &chat, "four", json!({ "replyTo": 3 })).await;
    assert_unread(&carl, json!([["reply", 3, "four"], ["added", 1, "Walkers"]])).await;
    // An edit changes what is shown, a deletion takes it away.
    ben.rest.patch(&format!("/api/messages/{chat}/4"), json!({ "text": "four, corrected" })).await.expect(200);
    assert_unread(&carl, json!([["reply", 3, "four, corrected"], ["added", 1, "Walkers"]])).await;
    ben.rest.delete(&format!("/api/messages/{chat}/4")).await.expect(200);
    assert_unread(&carl, json!([["reply", 2, ""], ["added", 1, "Walkers"]])).await;
    // Seeing some of it leaves the rest.
    carl.rest.post(&format!("/api/messages/{chat}/read"), json!({ "seq": 1 })).await.expect(204);
    assert_unread(&carl, json!([["reply", 1, ""]])).await;
    // Reading the chat reads its notifications, on all devices.
    ben.rest.post(&format!("/api/messages/{chat}/read"), json!({ "seq": 4 })).await.expect(204);
    assert_unread(&ben, json!([])).await;
    let read = ben.socket.wait("notification:updated", |args| args[0]["readAt"].is_string(), SOON).await;
    assert_eq!(read[0]["chatId"], chat);
    // What follows is a new one; what is seen by the time it is looked at is none.
    send(&anna, &chat, "five", json!({})).await;
    let again = assert_unread(&ben, json!([["message", 1, "five"]])).await;
    assert_ne!(again[0]["id"], live[0]["id"]);
    assert_eq!(list(&ben, "").await.len(), 3);

    // By hand, one and all; and nobody else's.
    let id = again[0]["id"].as_str().unwrap();
    let read = ben.rest.patch(&format!("/api/notifications/{id}"), json!({ "read": true })).await.expect(200);
    assert!(read["readAt"].is_string());
    ben.rest.patch(&format!("/api/notifications/{id}"), json!({ "read": false })).await.expect(200);
    assert_unread(&ben, json!([["message", 1, "five"]])).await;
    assert_eq!(carl.rest.patch(&format!("/api/notifications/{id}"), json!({ "read": true })).await.status, 404);
    ben.rest.post("/api/notifications/read-all", json!({})).await.expect(204);
    assert_unread(&ben, json!([])).await;
    // One of which nothing is left is none.
    let six = send(&anna, &chat, "six", json!({})).await["seq"].clone();
    assert_unread(&ben, json!([["message", 1, "six"]])).await;
    anna.rest.delete(&format!("/api/messages/{chat}/{six}")).await.expect(200);
    assert_unread(&ben, json!([])).await;
    assert_eq!(list(&ben, "").await.len(), 3);
    assert_eq!(carl.rest.get(&format!("/api/notifications/{}", ben.id())).await.status, 403);
    assert_eq!(ben.rest.get(&format!("/api/notifications/{}", ben.id())).await.expect(200)["unread"], 0);
    let first = ben.rest.get("/api/notifications?limit=2").await.expect(200);
    let rest = list(&ben, &format!("?limit=2&cursor={}", first["nextCursor"].as_str().unwrap())).await;
    assert_eq!((first["notifications"].as_array().unwrap().len(), rest.len()), (2, 1));
}

#[tokio::test]
async fn muted_chats_are_silent_but_for_what_is_said_to_one() {
    let system = system(Vec::new()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = group(&anna, &[&ben]).await;
    assert_unread(&ben, json!([["added", 1, "Walkers"]])).await;
    ben.rest.post("/api/notifications/read-all", json!({})).await.expect(204);
    ben.rest.patch(&format!("/api/chats/{chat}"), json!({ "muted": true })).await.expect(200);
    send(&anna, &chat, "quiet", json!({})).await;
    send(&anna, &chat, "to you", json!({ "mentions": [ben.id()] })).await;
    assert_unread(&ben, json!([["mention", 1, "to you"]])).await;
}

#[tokio::test]
async fn an_instance_that_dies_in_the_middle_tells_nothing_twice() {
    let mut system = system(Vec::new()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = group(&anna, &[&ben]).await;
    for round in 0..3 {
        for n in 0..20 {
            send(&anna, &chat, &format!("{round} {n}"), json!({})).await;
        }
        system.instance("mail", 0).kill().await;
        system.start_again("mail", 0).await;
    }
    let all = json!([["message", 60, "2 19"], ["added", 1, "Walkers"]]);
    assert_unread_within(AFTER_A_DEATH, &ben, all).await;
    let database = system.mongo.connect().await;
    let count = database.collection::<Document>("notifications").count_documents(doc! { "userId": ben.id() }).await;
    assert_eq!(count.unwrap(), 2);
}

#[tokio::test]
async fn three_instances_tell_of_a_chat_no_more_than_one_would() {
    let system = System::start(SystemOptions { mails: 3, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = group(&anna, &[&ben]).await;
    assert_unread(&ben, json!([["added", 1, "Walkers"]])).await;
    for round in 0..5 {
        ben.rest.post("/api/notifications/read-all", json!({})).await.expect(204);
        let sent = join_all((0..12).map(async |n| send(&anna, &chat, &format!("{round} {n}"), json!({})).await)).await;
        let last = sent.iter().max_by_key(|message| message["seq"].as_u64()).unwrap();
        assert_unread_within(AFTER_A_DEATH, &ben, json!([["message", 12, last["text"]]])).await;
    }
    let of_ben = doc! { "userId": ben.id(), "type": "message" };
    let count = system.mongo.connect().await.collection::<Document>("notifications").count_documents(of_ben).await;
    assert_eq!(count.unwrap(), 5);
}

#[tokio::test]
async fn what_was_read_while_mail_was_down_is_read_though_something_was_delivered_later() {
    let mut system = system(Vec::new()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = group(&anna, &[&ben]).await;
    send(&anna, &chat, "one", json!({})).await;
    assert_unread(&ben, json!([["message", 1, "one"], ["added", 1, "Walkers"]])).await;
    system.instance("mail", 0).kill().await;
    ben.rest.post(&format!("/api/messages/{chat}/read"), json!({ "seq": 1 })).await.expect(204);
    send(&anna, &chat, "two", json!({})).await;
    let delivered = ben.socket.request("message:delivered", json!({ "chatId": chat, "seq": 2 })).await;
    assert_eq!(delivered["ok"], true);
    system.start_again("mail", 0).await;
    assert_unread_within(AFTER_A_DEATH, &ben, json!([["message", 1, "two"]])).await;
}

#[tokio::test]
async fn nothing_stays_unread_of_a_chat_that_is_open() {
    let system = system(Vec::new()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = group(&anna, &[&ben]).await;
    // Read as soon as it comes: before, while and after its notification is made.
    for n in 1..=60_u64 {
        send(&anna, &chat, &format!("n {n}"), json!({})).await;
        match n % 3 {
            0 => drop(ben.socket.wait("message:new", |args| args[0]["seq"] == n, SOON).await),
            1 => drop(ben.socket.wait("notification:new", |args| args[0]["seq"] == n, SOON).await),
            _ => {}
        }
        ben.rest.post(&format!("/api/messages/{chat}/read"), json!({ "seq": n })).await.expect(204);
    }
    send(&anna, &chat, "last", json!({})).await;
    assert_unread(&ben, json!([["message", 1, "last"]])).await;
}

#[tokio::test]
async fn who_is_away_is_pushed_to_and_gets_one_letter_that_reading_cancels() {
    let service = PushService::start().await;
    let system = system(service.env()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = group(&anna, &[&ben]).await;
    assert_unread(&ben, json!([["added", 1, "Walkers"]])).await;
    let browser = service.browser();
    assert!(ben.rest.get("/api/push/key").await.expect(200)["publicKey"].is_string());
    let subscribed = ben.rest.post("/api/push/subscriptions", browser.subscription()).await;
    assert!([201, 204].contains(&subscribed.status), "{subscribed:?}");
    // At a device: neither.
    send(&anna, &chat, "while here", json!({})).await;
    assert_unread(&ben, json!([["message", 1, "while here"], ["added", 1, "Walkers"]])).await;
    let letters = |about: &str| system.letters("ben@example.org").iter().filter(|one| one.contains(about)).count();

    ben.socket.disconnect();
    eventually("ben is away", SOON, async || {
        let presence = anna.rest.get(&format!("/api/users/{}/presence", ben.id())).await.expect(200);
        (presence["online"] == false).then_some(())
    })
    .await;
    send(&anna, &chat, "first while away", json!({})).await;
    send(&anna, &chat, "second while away", json!({})).await;
    let pushed = eventually("a push of both", SOON, async || {
        let messages = service.waiting(&browser);
        let payload: Value = serde_json::from_str(&messages.last()?.payload).ok()?;
        (payload["count"] == 3).then_some((messages.len(), payload))
    })
    .await;
    // The second has taken the first one's place.
    assert_eq!((pushed.0, &pushed.1["preview"]), (1, &json!("second while away")));
    assert!(service.objections().is_empty(), "{:?}", service.objections());
    // One letter for all, and no further one however much comes while they stay away.
    let digests = || letters("List-Unsubscribe-Post: List-Unsubscribe=One-Click");
    eventually("a digest", SOON, async || (digests() == 1).then_some(())).await;
    assert_eq!(letters("while away"), 1);
    send(&anna, &chat, "third while away", json!({})).await;
    assert_unread(&ben, json!([["message", 4, "third while away"], ["added", 1, "Walkers"]])).await;

    // Back for a moment: then there may be another, unless all is read.
    let back = async || {
        let socket = driver.connect(&system.gateway(0).url(), &ben.session.access_token).await.unwrap();
        let presence = async || anna.rest.get(&format!("/api/users/{}/presence", ben.id())).await.expect(200);
        eventually("ben is there", SOON, async || (presence().await["online"] == true).then_some(())).await;
        socket.disconnect();
        eventually("ben is away", SOON, async || (presence().await["online"] == false).then_some(())).await;
    };
    back().await;
    ben.rest.post(&format!("/api/messages/{chat}/read"), json!({ "seq": 4 })).await.expect(204);
    assert_unread(&ben, json!([])).await;
    let other = group(&anna, &[&ben]).await;
    send(&anna, &other, "in another chat", json!({})).await;
    eventually("a digest of the other", SOON, async || (letters("in another chat") == 1).then_some(())).await;
    assert_eq!((letters("third while away"), digests()), (0, 2));
}

#[tokio::test]
async fn one_click_ends_letters_and_quiet_hours_keep_pushes_away() {
    let service = PushService::start().await;
    let system = system(service.env()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = group(&anna, &[&ben]).await;
    send(&anna, &chat, "hello", json!({})).await;
    ben.socket.disconnect();
    let digest = eventually("a digest", SOON, async || {
        system.letters("ben@example.org").into_iter().find(|letter| letter.contains("List-Unsubscribe:"))
    })
    .await;
    let unfolded = digest.replace("\r\n ", "").replace("\r\n\t", "");
    let link = unfolded.lines().find_map(|line| line.strip_prefix("List-Unsubscribe: <")).unwrap();
    let path = &link.trim_end_matches('>')[link.find("/api/").unwrap()..];
    // Looking at the link changes nothing, and a made-up one neither.
    let anybody = Rest::new(system.gateway(0).url());
    anybody.get(path).await.expect(200);
    let settings = async || ben.rest.get("/api/notifications/settings").await.expect(200);
    assert_eq!(settings().await, json!({ "email": "digest", "push": true, "quietHours": null }));
    assert_eq!(anybody.post("/api/notifications/unsubscribe?token=x.y", json!({})).await.status, 422);
    anybody.post(path, json!({})).await.expect(200);
    assert_eq!(settings().await["email"], "off");

    let browser = service.browser();
    ben.rest.post("/api/push/subscriptions", browser.subscription()).await;
    let all_day = json!({ "from": "00:00", "to": "23:59", "timeZone": "UTC" });
    let set = ben.rest.patch("/api/notifications/settings", json!({ "quietHours": all_day })).await.expect(200);
    assert_eq!((&set["quietHours"], &set["email"]), (&all_day, &json!("off")));
    for (wrong, field) in [
        (json!({ "quietHours": { "from": "25:00", "to": "07:00", "timeZone": "UTC" } }), "quietHours.from"),
        (json!({ "quietHours": { "from": "22:00", "to": "07:00", "timeZone": "Moon" } }), "quietHours.timeZone"),
        (json!({ "email": "always" }), "email"),
    ] {
        let refused = ben.rest.patch("/api/notifications/settings", wrong).await;
        assert_eq!((refused.status, &refused.body["errors"][0]["field"]), (422, &json!(field)), "{refused:?}");
    }
    send(&anna, &chat, "in the night", json!({})).await;
    assert_unread(&ben, json!([["message", 2, "in the night"], ["added", 1, "Walkers"]])).await;
    ben.rest.patch("/api/notifications/settings", json!({ "quietHours": null })).await.expect(200);
    send(&anna, &chat, "in the morning", json!({})).await;
    let messages = service.wait_for(&browser, 1).await;
    assert!(messages[0].payload.contains("in the morning"), "{messages:?}");
    assert_eq!(system.letters("ben@example.org").iter().filter(|one| one.contains("List-Unsubscribe:")).count(), 1);
}

#[tokio::test]
async fn an_admin_announces_to_everybody_also_when_mail_dies() {
    let mut system = system(Vec::new()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let alert = json!({ "title": "Maintenance", "text": "Tonight\nat ten" });
    assert_eq!(anna.rest.post("/api/admin/announce", alert.clone()).await.status, 403);
    let database = system.mongo.connect().await;
    let users = database.collection::<Document>("users");
    users.update_one(doc! { "_id": anna.id() }, doc! { "$set": { "role": "admin" } }).await.unwrap();
    let refresh = json!({ "refreshToken": anna.session.refresh_token });
    let tokens = system.rest().post("/api/auth/refresh", refresh).await.expect(200);
    let admin = system.rest().with_token(tokens["accessToken"].as_str().unwrap());
    for (wrong, field) in
        [(json!({ "title": "", "text": "x" }), "title"), (json!({ "title": "x", "text": " " }), "text")]
    {
        let refused = admin.post("/api/admin/announce", wrong).await;
        assert_eq!(refused.body["errors"][0]["field"], field, "{refused:?}");
    }
    ben.rest.patch("/api/notifications/settings", json!({ "email": "off" })).await.expect(200);
    system.instance("mail", 0).kill().await;
    system.start_again("mail", 0).await;
    admin.post("/api/admin/announce", alert).await.expect(202);
    system.instance("mail", 0).kill().await;
    system.start_again("mail", 0).await;
    for person in [&anna, &ben] {
        assert_unread_within(AFTER_A_DEATH, person, json!([["system", 1, "Maintenance: Tonight at ten"]])).await;
    }
    ben.socket.wait("notification:new", |args| args[0]["type"] == "system", Duration::from_secs(5)).await;
    let letters = |to: &str| system.letters(to).iter().filter(|one| one.contains("Maintenance")).count();
    eventually("a letter to who wants letters", SOON, async || (letters("anna@example.org") == 1).then_some(())).await;
    assert_eq!(letters("ben@example.org"), 0);
}

#[tokio::test]
async fn an_announcement_survives_a_death_half_way() {
    let mut system = system(Vec::new()).await;
    let driver = Driver::start().await;
    let anna = person(&system, &driver, "anna", 0).await;
    let database = system.mongo.connect().await;
    let users = database.collection::<Document>("users");
    users.update_one(doc! { "_id": anna.id() }, doc! { "$set": { "role": "admin" } }).await.unwrap();
    // More people than one step takes.
    let one = users.find_one(doc! { "_id": anna.id() }).await.unwrap().unwrap();
    let crowd = (0..5_000).map(|n| {
        let mut other = one.clone();
        other.insert("_id", contract::UserId::new().to_string());
        other.insert("email", format!("crowd{n}@example.org"));
        other
    });
    users.insert_many(crowd).await.unwrap();
    let refresh = json!({ "refreshToken": anna.session.refresh_token });
    let tokens = system.rest().post("/api/auth/refresh", refresh).await.expect(200);
    let admin = system.rest().with_token(tokens["accessToken"].as_str().unwrap());
    admin
        .post("/api/admin/announce", json!({ "title": "News", "text": "All is well", "mail": false }))
        .await
        .expect(202);

    let notifications = database.collection::<Document>("notifications");
    let told = async || notifications.count_documents(doc! { "type": "system" }).await.unwrap();
    eventually("some are told", SOON, async || (told().await > 0).then_some(())).await;
    system.instance("mail", 0).kill().await;
    assert!(told().await < 5_001, "it died too late to show anything");
    system.start_again("mail", 0).await;
    eventually("all are told", AFTER_A_DEATH, async || (told().await >= 5_001).then_some(())).await;
    // A message after it: nobody is told twice.
    assert_unread(&anna, json!([["system", 1, "News: All is well"]])).await;
    assert_eq!(told().await, 5_001);
}
