//! What bad input gets: a clear error with a stable code, and nothing else happens.

use serde_json::{Value, json};
use testkit::{
    System, SystemOptions, eventually,
    rest::{Answer, answer},
    socketio::Driver,
};

use crate::sight::{SOON, direct, person};

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!((answer.status, answer.code()), (status, code), "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/problem+json");
    assert_eq!(answer.body["status"], status);
    assert!(answer.body["title"].is_string() && answer.body["type"].is_string());
}

fn field(answer: &Answer) -> &str {
    answer.body["errors"][0]["field"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn rest_refuses_what_does_not_fit_and_names_the_field() {
    let system = System::start(SystemOptions::default()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let carl = person(&system, &driver, "carl", 0).await;
    let chat = direct(&anna, &ben).await;
    let rest = system.rest();

    let text = |body: &'static str| {
        let request = rest.request("POST".parse().unwrap(), "/api/auth/otp");
        answer(request.header("content-type", "application/json").body(body))
    };
    for body in ["{", "", "nonsense", "{\"email\":\"a@b.org\"", "\u{0}"] {
        assert_problem(&text(body).await, 400, "invalid");
    }
    let mails = std::fs::read_dir(system.mail_dir()).unwrap().count();
    for email in [json!(["a@b.org", "c@d.org"]), json!({ "$gt": "" }), json!(1), json!(null), json!("no address")] {
        let refused = rest.post("/api/auth/otp", json!({ "email": email })).await;
        assert_problem(&refused, 422, "invalid");
        assert_eq!(field(&refused), "email", "{}", refused.body);
    }
    assert_eq!(std::fs::read_dir(system.mail_dir()).unwrap().count(), mails, "no letter was sent");
    for password in ["short".to_owned(), "x".repeat(129)] {
        let body = json!({ "email": "a@b.org", "password": password, "name": "A" });
        let refused = rest.post("/api/auth/register", body).await;
        assert_problem(&refused, 422, "invalid");
        assert_eq!(field(&refused), "password");
        assert!(!refused.body.to_string().contains(&password), "a secret is not repeated");
    }

    let send = async |body: Value| anna.rest.post("/api/messages", body).await;
    let over = "x".repeat(8_001);
    for (body, name) in [
        (json!({ "chatId": chat, "clientId": "1", "text": over }), "text"),
        (json!({ "chatId": chat, "clientId": "1", "text": "" }), "text"),
        (json!({ "chatId": chat, "clientId": "1", "text": ["a"] }), "text"),
        (json!({ "chatId": chat, "clientId": "", "text": "a" }), "clientId"),
        (json!({ "chatId": chat, "clientId": 7, "text": "a" }), "clientId"),
        (json!({ "chatId": chat, "clientId": "1", "text": "a", "replyTo": 99 }), "replyTo"),
        (json!({ "chatId": chat, "clientId": "1", "text": "a", "replyTo": -1 }), "replyTo"),
        (json!({ "chatId": chat, "clientId": "1", "text": "a", "attachments": ["none"] }), "attachments"),
        (json!({ "chatId": "*", "clientId": "1", "text": "a" }), "chatId"),
        (json!({ "chatId": [chat], "clientId": "1", "text": "a" }), "chatId"),
    ] {
        let refused = send(body).await;
        assert_problem(&refused, 422, "invalid");
        assert_eq!(field(&refused), name, "{}", refused.body);
    }
    for body in [json!({ "type": 5 }), json!({ "type": null }), json!({ "type": ["direct"] }), json!({ "type": "x" })] {
        assert_problem(&anna.rest.post("/api/chats", body).await, 422, "invalid");
    }
    let nowhere = json!({ "chatId": "0190163d-8694-739b-aea5-966c26f8ad91", "clientId": "1", "text": "a" });
    assert_problem(&send(nowhere).await, 404, "not_found");
    let foreign = carl.rest.post("/api/messages", json!({ "chatId": chat, "clientId": "1", "text": "a" })).await;
    assert_problem(&foreign, 404, "not_found");
    for path in [format!("/api/chats/{chat}"), format!("/api/messages/{chat}"), "/api/chats/>".into()] {
        assert_problem(&carl.rest.get(&path).await, 404, "not_found");
    }
    assert_problem(&anna.rest.get(&format!("/api/messages/{chat}?limit=201")).await, 422, "invalid");
    assert_problem(&anna.rest.get(&format!("/api/messages/{chat}?limit=x")).await, 422, "invalid");
    assert_problem(&anna.rest.get("/api/nothing").await, 404, "not_found");
    assert_problem(&anna.rest.delete("/api/auth/otp").await, 405, "invalid");
    let huge = json!({ "chatId": chat, "clientId": "1", "text": "x".repeat(3_000_000) });
    assert_problem(&send(huge).await, 413, "too_large");
    let unknown_fields = json!({ "chatId": chat, "clientId": "1", "text": "a", "more": { "x": 1 } });
    send(unknown_fields).await.expect(201);
    assert_eq!(anna.history(&chat).await, [(1, "a".to_owned())]);

    for name in ["user", "chat", "mail", "gateway"] {
        let log = system.instance(name, 0).log();
        assert!(!log.contains("panicked"), "{name} panicked: {log}");
    }
}

#[tokio::test]
async fn forged_tokens_open_nothing() {
    let system = System::start(SystemOptions::default()).await;
    let driver = Driver::start().await;
    let anna = person(&system, &driver, "anna", 0).await;
    let token = &anna.session.access_token;
    let (head, signature) = token.rsplit_once('.').unwrap();
    let claims = head.split_once('.').unwrap().1;
    // {"alg":"none","typ":"JWT"}
    let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.");
    let flipped: String = signature.chars().rev().collect();
    for forged in ["", "x", "a.b.c", &none, &format!("{none}{signature}"), &format!("{head}.{flipped}"), head] {
        let refused = system.rest().with_token(forged).get("/api/auth/me").await;
        assert_problem(&refused, 401, "unauthenticated");
        let refused = driver.connect(&system.gateway(0).url(), forged).await.err().unwrap();
        assert_eq!(refused.message, "unauthenticated", "{forged}");
    }
    assert_problem(&system.rest().get("/api/chats").await, 401, "unauthenticated");
    for auth in [json!(null), json!({}), json!([token]), json!({ "token": 7 }), json!({ "token": [token] }), json!("x")]
    {
        let refused = driver.connect_with(&system.gateway(0).url(), auth, json!({})).await.err().unwrap();
        assert_eq!(refused.message, "unauthenticated");
    }
}

#[tokio::test]
async fn a_socket_that_sends_garbage_is_answered_and_stays() {
    let system = System::start(SystemOptions::default()).await;
    let driver = Driver::start().await;
    let (anna, ben) = (person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await);
    let chat = direct(&anna, &ben).await;
    let garbage = [
        json!(null),
        json!(7),
        json!("text"),
        json!([]),
        json!({}),
        json!([[[]]]),
        json!({ "chatId": ["x"] }),
        json!({ "chats": [1] }),
    ];
    for event in [
        "message:send",
        "message:edit",
        "message:delete",
        "reaction:add",
        "reaction:remove",
        "sync",
        "auth:refresh",
        "no:such:event",
        "__proto__",
        "",
    ] {
        for payload in &garbage {
            let ack = anna.socket.request(event, payload.clone()).await;
            assert_eq!(ack["ok"], false, "{event} {payload}: {ack}");
            assert!(ack["error"]["code"].is_string() && ack["error"]["message"].is_string(), "{event}: {ack}");
            anna.socket.emit(event, payload.clone());
        }
    }
    let long = json!({ "chatId": chat, "clientId": "1", "text": "x".repeat(8_001) });
    assert_eq!(anna.socket.request("message:send", long).await["error"]["code"], "invalid");
    let ack = anna.send(&chat, "1", "still here").await;
    assert_eq!(ack["ok"], true, "{ack}");
    ben.socket.wait("message:new", |args| args[0]["text"] == "still here", SOON).await;
    assert!(!system.gateway(0).log().contains("panicked"));
}

#[tokio::test]
async fn parallel_registrations_of_one_address_make_one_account_and_no_log_holds_a_secret() {
    let system = System::start(SystemOptions { gateways: 2, users: 2, ..SystemOptions::default() }).await;
    let register = json!({ "email": "anna@example.org", "password": "correct horse battery", "name": "Anna" });
    let rests = [system.rest(), testkit::rest::Rest::new(system.gateway(1).url())];
    let answers =
        futures::future::join_all((0..20).map(|n| rests[n % 2].post("/api/auth/register", register.clone()))).await;
    for answer in answers {
        assert!([202, 429, 503].contains(&answer.status), "{answer:?}");
    }
    let code = system.code_after("anna@example.org", 0).await;
    let verify = json!({ "email": "anna@example.org", "code": code });
    let answers =
        futures::future::join_all((0..10).map(|n| rests[n % 2].post("/api/auth/verify", verify.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "a code works once");
    let tokens = answers.into_iter().find(|answer| answer.status == 200).unwrap().body;
    let database = system.mongo.connect().await;
    let count = database.collection::<Value>("users").count_documents(mongodb::bson::doc! {}).await.unwrap();
    assert_eq!(count, 1);

    let secrets = [
        &code,
        "correct horse battery",
        tokens["accessToken"].as_str().unwrap(),
        tokens["refreshToken"].as_str().unwrap(),
    ];
    eventually("the service has logged", SOON, async || (!system.instance("user", 0).log().is_empty()).then_some(()))
        .await;
    for (name, instances) in [("user", 2), ("chat", 1), ("gateway", 2)] {
        for index in 0..instances {
            let log = system.instance(name, index).log();
            assert!(secrets.iter().all(|secret| !log.contains(*secret)), "{name} logged a secret:\n{log}");
        }
    }
}
