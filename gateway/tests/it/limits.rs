//! What a client may ask, and what happens to the one that asks more, and to others.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use contract::{ChatId, Refusal, UserId};
use futures::{FutureExt, StreamExt, future::join_all};
use gateway::Config;
use http::{HeaderValue, Method, header};
use serde_json::{Value, json};
use service::config::RateConfig;
use testkit::{
    eventually,
    rest::{Rest, answer},
};

use crate::{
    raw::Raw,
    world::{Person, SOON, World},
};

/// So many at once, and one each second.
const FEW: RateConfig = RateConfig { per_second: 1.0, burst: 5 };

fn seconds(header: &HeaderValue) -> u64 {
    header.to_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_user_who_asks_too_much_waits_and_nobody_else_does() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.limits.requests = FEW).await;
    world.answer("call.chat.list", |_| Ok(json!({ "chats": [], "nextCursor": null })));
    let (person, other) = (Person::new(), Person::new());
    let rest = world.rest(&gateway, person);
    let client = world.client(&gateway, person).await;
    for _ in 0..4 {
        rest.get("/api/chats").await.expect(200);
    }
    // One budget for both ways in.
    assert_eq!(client.request("presence:set", json!({ "status": "dnd" })).await["ok"], true);
    let refused = rest.get("/api/chats").await;
    assert_eq!((refused.status, refused.code()), (429, "rate_limited"));
    assert_eq!(seconds(&refused.headers[header::RETRY_AFTER]), 1);
    let error = &client.request("presence:set", json!({ "status": "dnd" })).await["error"];
    assert_eq!((&error["code"], &error["retryAfter"]), (&json!("rate_limited"), &json!(1)), "{error}");

    world.rest(&gateway, other).get("/api/chats").await.expect(200);
    eventually("who waits is served again", SOON, async || (rest.get("/api/chats").await.status == 200).then_some(()))
        .await;
}

#[tokio::test]
async fn questions_about_many_cost_more() {
    let world = World::start().await;
    let rate = RateConfig { per_second: 1.0, burst: 60 };
    let gateway = world.gateway_with(|config| config.limits.requests = rate).await;
    world.answer("call.user.presence", |_| Ok(json!({ "presence": [] })));
    world.answer("call.chat.sync", |body| {
        let chats = body["chats"].as_object().unwrap().keys();
        let event = json!({ "event": "message:new", "data": { "text": "x".repeat(150_000) }, "cursor": 1, "prev": 0 });
        let missed = json!({ "events": [event], "cursor": 1, "reset": false });
        Ok(json!({ "chats": chats.map(|chat| (chat.clone(), missed.clone())).collect::<serde_json::Map<_, _>>() }))
    });
    let people: Vec<UserId> = (0..500).map(|_| UserId::new()).collect();
    let client = world.client(&gateway, Person::new()).await;
    let ask = async || client.request("presence:subscribe", json!({ "userIds": people })).await;
    assert_eq!(ask().await["ok"], true);
    assert_eq!(ask().await["error"]["code"], "rate_limited");
    let rest = world.rest(&gateway, Person::new());
    rest.post("/api/presence", json!({ "userIds": people })).await.expect(200);
    assert_eq!(rest.post("/api/presence", json!({ "userIds": people })).await.code(), "rate_limited");
    // An answer of 150 kB.
    let client = world.client(&gateway, Person::new()).await;
    let ask = async || client.request("sync", json!({ "chats": { ChatId::new().to_string(): 0 } })).await;
    assert_eq!(ask().await["ok"], true);
    assert_eq!(ask().await["error"]["code"], "rate_limited");
}

#[tokio::test]
async fn those_with_a_password_wait_for_each_other_and_nobody_for_them() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.limits.passwords = 1).await;
    let rest = Rest::new(&gateway.url);
    world.answer("call.user.refresh", |_| Err(Refusal::unauthenticated("no")));
    world.silence("call.user.login");
    let mut calls = world.user.client().subscribe("call.user.login").await.unwrap();
    world.user.client().flush().await.unwrap();
    let login = async || {
        let body = json!({ "email": "anna@example.org", "password": "correct horse battery staple" });
        rest.post("/api/auth/login", body).await.status
    };
    let others = async {
        calls.next().await.unwrap();
        assert_eq!(rest.post("/api/auth/refresh", json!({ "refreshToken": "r" })).await.status, 401);
        assert!(calls.next().now_or_never().is_none(), "the second one waits for the first");
    };
    tokio::select! {
        statuses = async { tokio::join!(login(), login()) } => panic!("nobody answers them: {statuses:?}"),
        ended = tokio::time::timeout(SOON, others) => ended.unwrap(),
    }
}

#[tokio::test]
async fn guessing_is_limited_by_address() {
    let world = World::start().await;
    let few = |config: &mut Config| {
        config.limits.sign_in = FEW;
        config.http.trusted_proxies = 1;
    };
    let gateway = world.gateway_with(few).await;
    let open = Rest::new(&gateway.url);
    let from = |address: &'static str, method: Method, path: &str| {
        let request = open.request(method, path).header("x-forwarded-for", address);
        answer(request.bearer_auth("x.y.z").body("{}"))
    };
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(from("192.0.2.1", Method::POST, "/api/auth/login").await.status);
        statuses.push(from("192.0.2.1", Method::GET, "/api/chats").await.status);
    }
    assert_eq!(statuses, [422, 401, 422, 401, 422, 429]);
    for path in ["register", "otp", "verify", "refresh", "password/forgot", "password/reset"] {
        let refused = from("192.0.2.1", Method::POST, &format!("/api/auth/{path}")).await;
        assert_eq!((refused.status, refused.code()), (429, "rate_limited"), "{path}");
    }
    assert_eq!(from("192.0.2.2", Method::POST, "/api/auth/login").await.status, 422);
    // Who has a token is not kept from using it.
    world.answer("call.chat.list", |_| Ok(json!({ "chats": [], "nextCursor": null })));
    let token = world.token(Person::new());
    let request = open.with_token(token).request(Method::GET, "/api/chats");
    answer(request.header("x-forwarded-for", "192.0.2.1")).await.expect(200);
}

#[tokio::test]
async fn connections_are_limited_by_address_and_sockets_by_user() {
    let world = World::start().await;
    let few = |config: &mut Config| {
        config.limits.connect = FEW;
        config.limits.sockets_per_user = 2;
        config.limits.sockets = 3;
    };
    let gateway = world.gateway_with(few).await;
    let once = json!({ "transports": ["websocket"], "reconnection": false });
    let person = Person::new();
    let connect = |person: Person| {
        let auth = json!({ "token": world.token(person) });
        world.driver.connect_with(&gateway.url, auth, once.clone())
    };
    let mut sockets = vec![connect(person).await.unwrap(), connect(person).await.unwrap()];
    assert_eq!(connect(person).await.err().unwrap().message, "rate_limited");
    sockets.push(connect(Person::new()).await.unwrap());
    assert_eq!(connect(Person::new()).await.err().unwrap().message, "unavailable");

    let refused = reqwest::get(format!("{}/socket.io/?EIO=4&transport=polling", gateway.url)).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(seconds(&refused.headers()[header::RETRY_AFTER]), 1);
    // The official client comes again by itself until it is let in; those who are in notice nothing.
    sockets.pop().unwrap().disconnect();
    let patient = world.driver.open(&gateway.url, &world.token(Person::new()));
    patient.wait("connect", |_| true, SOON).await;
    assert_eq!(sockets[0].request("presence:set", json!({ "status": "dnd" })).await["ok"], true);
}

#[tokio::test]
async fn what_does_not_fit_beside_work_that_was_begun_is_refused() {
    let world = World::start().await;
    // Room for three pieces of work and 40 kB.
    let gateway = world.gateway_with(|config| config.limits.work_bytes = 64 << 10).await;
    world.silence("call.chat.sync");
    world.answer("call.chat.list", |_| Ok(json!({ "chats": [], "nextCursor": null })));
    let person = Person::new();
    let (client, rest) = (world.client(&gateway, person).await, world.rest(&gateway, person));
    let long = |bytes: usize| json!({ "chats": {}, "padding": "x".repeat(bytes) });
    let first = client.request("sync", long(48_000));
    let refusals = async {
        let ack = client.request("sync", long(1_000)).await;
        let login = Rest::new(&gateway.url).post("/api/auth/login", long(1_000)).await;
        let small = rest.get("/api/chats").await;
        // The call is made again.
        world.answer("call.chat.sync", |_| Ok(json!({ "chats": {} })));
        (ack, login, small)
    };
    let (first, (ack, login, small)) = tokio::join!(first, refusals);
    assert_eq!(ack["error"]["code"], "unavailable", "{ack}");
    assert_eq!((login.status, login.code()), (503, "unavailable"));
    assert_eq!(seconds(&login.headers[header::RETRY_AFTER]), 1);
    small.expect(200);
    // What had been begun is not given up, and leaves its room to others.
    assert_eq!(first["ok"], true);
    assert_eq!(client.request("sync", long(1_000)).await["ok"], true);
}

#[tokio::test]
async fn a_flood_of_events_is_answered_one_by_one_or_cut_off() {
    let world = World::start().await;
    let rate = RateConfig { per_second: 10.0, burst: 50 };
    let gateway = world.gateway_with(|config| config.limits.requests = rate).await;
    let (flooder, other) = (Person::new(), Person::new());
    let (client, bystander) = (world.client(&gateway, flooder).await, world.client(&gateway, other).await);
    let ask = |_| client.request("presence:set", json!({ "status": "dnd" }));
    let acks: Vec<Value> = join_all((0..500).map(ask)).await;
    let count = |code: &str| acks.iter().filter(|ack| ack["error"]["code"] == code).count();
    let done = acks.iter().filter(|ack| ack["ok"] == true).count();
    assert_eq!(done + count("rate_limited"), 500, "{:?}", acks.iter().find(|ack| ack["ok"] != true));
    assert!((50..100).contains(&done), "{done}");
    assert_eq!(bystander.request("presence:set", json!({ "status": "dnd" })).await["ok"], true);
}

#[tokio::test]
async fn a_request_whose_head_does_not_come_ends_its_connection() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.http.head_timeout = 1).await;
    let addr = gateway.url.strip_prefix("http://").unwrap().to_owned();
    let dribbled = tokio::task::spawn_blocking(move || {
        let mut tcp = TcpStream::connect(addr).unwrap();
        tcp.set_read_timeout(Some(SOON)).unwrap();
        let mut dribble = tcp.try_clone().unwrap();
        std::thread::spawn(move || {
            let head = b"GET /api/chats HTTP/1.1\r\nHost: x\r\nX: ".iter().chain(std::iter::repeat(&b'x'));
            for byte in head {
                if dribble.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let mut answer = String::new();
        // Closed, maybe with a word of good-bye; a reset is an end as well.
        let _ = tcp.read_to_string(&mut answer);
        answer
    });
    let answer = tokio::time::timeout(SOON, dribbled).await.expect("the connection is ended").unwrap();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
    // A long poll is no head that does not come.
    let person = Person::new();
    let raw = Raw::connect(&gateway.url, &world.token(person)).await;
    let polls = async { while !raw.read().await.iter().any(|packet| packet.starts_with("431[")) {} };
    let said = async {
        // As long as a head may take, and longer.
        tokio::time::sleep(Duration::from_secs(2)).await;
        raw.write(&[r#"421["presence:set",{"status":"dnd"}]"#]).await
    };
    let ((), status) = tokio::join!(polls, said);
    assert_eq!(status, 200);
}
