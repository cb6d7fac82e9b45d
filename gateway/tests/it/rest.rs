//! REST.

use contract::{ChatId, Refusal, UserId};
use reqwest::{Method, header};
use serde_json::{Value, json};
use testkit::rest::{Answer, Rest, answer};

use crate::world::{Person, World, chat_json, message_json};

fn assert_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json");
    assert_eq!((&answer.body["status"], &answer.body["code"]), (&json!(status), &json!(code)));
    for member in ["type", "title", "detail"] {
        assert!(answer.body[member].is_string(), "{answer:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_is_said_as_problem_json() {
    let world = World::start().await;
    let gateway = world.gateway_with(|config| config.http.max_body = 1_000).await;
    let open = Rest::new(&gateway.url);
    let rest = world.rest(&gateway, Person::new());

    assert_problem(&open.get("/nowhere").await, 404, "not_found");
    assert_problem(&open.get("/api/auth/login").await, 405, "invalid");
    assert_eq!(open.get("/api/auth/login").await.headers[header::ALLOW], "POST");
    assert_problem(&open.get("/api/auth/me").await, 401, "unauthenticated");
    assert_eq!(open.get("/api/auth/me").await.headers[header::WWW_AUTHENTICATE], "Bearer");
    assert_problem(&open.with_token("x.y.z").get("/api/chats").await, 401, "unauthenticated");

    let login = |body: &'static str| answer(open.request(Method::POST, "/api/auth/login").body(body));
    assert_problem(&login("").await, 400, "invalid");
    assert_problem(&login("{").await, 400, "invalid");
    assert_problem(&login("\u{0}").await, 400, "invalid");
    for (body, field) in [
        ("{}", "email"),
        (r#"{"email":[],"password":"x"}"#, "email"),
        (r#"{"email":"a@b.org","password":{}}"#, "password"),
    ] {
        let refused = login(body).await;
        assert_problem(&refused, 422, "invalid");
        assert_eq!(refused.body["errors"][0]["field"], field);
    }
    let large = json!({ "email": "a@b.org", "password": "x".repeat(1_000) });
    assert_problem(&open.post("/api/auth/login", large).await, 413, "too_large");

    assert_problem(&rest.get("/api/chats/x").await, 404, "not_found");
    assert_problem(&rest.get(&format!("/api/messages/{}?limit=201", ChatId::new())).await, 422, "invalid");
    assert_problem(&rest.get("/api/users").await, 422, "invalid");
    let bad_emoji = rest.put(&format!("/api/messages/{}/1/reactions/no", ChatId::new()), Value::Null).await;
    assert_problem(&bad_emoji, 422, "invalid");

    world.answer("call.chat.list", |_| Err(Refusal::rate_limited(std::time::Duration::from_secs(7))));
    let limited = rest.get("/api/chats").await;
    assert_problem(&limited, 429, "rate_limited");
    assert_eq!(limited.headers[header::RETRY_AFTER], "7");
    world.answer("call.chat.list", |_| Ok(json!("not a page")));
    assert_problem(&rest.get("/api/chats").await, 500, "internal");
    assert_eq!(rest.get("/api/chats").await.headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
}

#[tokio::test]
async fn each_route_answers_with_its_status() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    let open = Rest::new(&gateway.url);
    let rest = world.rest(&gateway, person);
    let (chat, other) = (ChatId::new(), UserId::new());
    let account = json!({
        "id": person.id, "name": "Anna", "avatarUrl": null, "bio": null, "status": null,
        "createdAt": "2026-01-01T00:00:00.000Z", "email": "a@b.org", "emailVerified": true, "role": "user",
    });
    let user = {
        let mut user = account.clone();
        for field in ["email", "emailVerified", "role"] {
            user.as_object_mut().unwrap().remove(field);
        }
        user
    };
    let tokens =
        json!({ "accessToken": "a", "refreshToken": "r", "tokenType": "Bearer", "expiresIn": 900, "user": account });
    let always = |subject: &str, reply: Value| world.answer(subject, move |_| Ok(reply.clone()));
    always("call.user.register", json!({ "status": "verification_required" }));
    always("call.user.otp", json!({}));
    for call in ["verify", "login", "refresh"] {
        always(&format!("call.user.{call}"), tokens.clone());
    }
    always("call.user.me", account.clone());
    always("call.user.sessions", json!({ "sessions": [] }));
    always("call.user.search", json!({ "users": [user], "nextCursor": null }));
    for call in ["get", "update", "status"] {
        always(&format!("call.user.{call}"), user.clone());
    }
    always("call.user.revoke_session", json!({}));
    always("call.chat.list", json!({ "chats": [chat_json(chat)], "nextCursor": null }));
    for call in ["get", "update", "add_members", "set_role"] {
        always(&format!("call.chat.{call}"), chat_json(chat));
    }
    for call in ["delete", "remove_member"] {
        always(&format!("call.chat.{call}"), json!({}));
    }
    for call in ["edit", "delete_message", "add_reaction", "remove_reaction"] {
        always(&format!("call.chat.{call}"), message_json(chat, person, "t"));
    }
    always("call.chat.history", json!({ "messages": [], "hasMore": false }));
    always("call.chat.events", json!({ "events": [], "cursor": 0, "reset": false }));
    world.answer("call.chat.create", move |body| {
        Ok(json!({ "created": body["chat"]["type"] == "group", "chat": chat_json(chat) }))
    });
    world.answer("call.chat.send", |body| {
        Ok(json!({ "created": body["message"]["clientId"] == "new", "message": { "n": 1 } }))
    });

    let credentials = json!({ "email": "A@b.org", "password": "12345678", "name": "Anna", "code": "123456" });
    let registered = open.post("/api/auth/register", credentials.clone()).await;
    assert_eq!((registered.status, &registered.body["status"]), (202, &json!("verification_required")));
    assert_eq!(open.post("/api/auth/otp", credentials.clone()).await.status, 202);
    for route in ["verify", "login"] {
        let signed_in = open.post(&format!("/api/auth/{route}"), credentials.clone()).await;
        assert_eq!((signed_in.status, &signed_in.body), (200, &tokens));
        assert_eq!(signed_in.headers[header::CACHE_CONTROL], "no-store");
    }
    assert_eq!(open.post("/api/auth/refresh", json!({ "refreshToken": "r" })).await.body, tokens);
    assert_eq!(open.get("/.well-known/jwks.json").await.body["keys"][0]["kty"], "OKP");

    let message = |client_id: &str| json!({ "chatId": chat, "clientId": client_id, "text": "t" });
    let (chats, messages) = (format!("/api/chats/{chat}"), format!("/api/messages/{chat}"));
    for (method, path, body, status) in [
        ("GET", "/api/auth/me".to_owned(), json!(null), 200),
        ("GET", "/api/auth/sessions".to_owned(), json!(null), 200),
        ("DELETE", format!("/api/auth/sessions/{}", contract::SessionId::new()), json!(null), 204),
        ("GET", "/api/users?query=a&limit=1".to_owned(), json!(null), 200),
        ("GET", format!("/api/users/{other}"), json!(null), 200),
        ("PATCH", "/api/users/update".to_owned(), json!({ "name": "B" }), 200),
        ("PATCH", "/api/users/status".to_owned(), json!(null), 200),
        ("PATCH", "/api/users/status".to_owned(), json!({ "text": "away", "emoji": "🌴", "until": null }), 200),
        ("POST", "/api/chats".to_owned(), json!({ "type": "group", "name": "G", "memberIds": [other] }), 201),
        ("POST", "/api/chats".to_owned(), json!({ "type": "direct", "userId": other }), 200),
        ("GET", "/api/chats?limit=200".to_owned(), json!(null), 200),
        ("GET", chats.clone(), json!(null), 200),
        ("PATCH", chats.clone(), json!({ "muted": true }), 200),
        ("DELETE", chats.clone(), json!(null), 204),
        ("POST", format!("{chats}/members"), json!({ "userIds": [other] }), 200),
        ("DELETE", format!("{chats}/members/{other}"), json!(null), 204),
        ("PATCH", format!("{chats}/members/{other}"), json!({ "role": "admin" }), 200),
        ("POST", format!("{chats}/leave"), json!(null), 204),
        ("GET", format!("{chats}/events?after=0"), json!(null), 200),
        ("POST", "/api/messages".to_owned(), message("new"), 201),
        ("POST", "/api/messages".to_owned(), message("old"), 200),
        ("GET", format!("{messages}?before=9&limit=1"), json!(null), 200),
        ("PATCH", format!("{messages}/1"), json!({ "text": "x" }), 200),
        ("DELETE", format!("{messages}/1"), json!(null), 200),
        ("PUT", format!("{messages}/1/reactions/%F0%9F%91%8D"), json!(null), 200),
        ("DELETE", format!("{messages}/1/reactions/%F0%9F%91%8D"), json!(null), 200),
    ] {
        let answer = rest.send(method.parse().unwrap(), &path, Some(body)).await;
        assert_eq!(answer.status, status, "{method} {path}: {answer:?}");
    }
}

#[tokio::test]
async fn a_browser_subscribes_to_pushes() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let (person, open) = (Person::new(), Rest::new(&gateway.url));
    let rest = world.rest(&gateway, person);
    world.answer("call.mail.push_key", |_| Ok(json!({ "publicKey": "B" })));
    let by_person = move |body: &Value| body["actor"]["userId"] == json!(person.id);
    world.answer("call.mail.subscribe", move |body| {
        let whole = by_person(&body) && body["subscription"]["keys"] == json!({ "p256dh": "p", "auth": "a" });
        if whole { Ok(json!({})) } else { Err(Refusal::internal()) }
    });
    world.answer("call.mail.end_subscription", move |body| {
        if by_person(&body) && body["endpoint"] == "e" { Ok(json!({})) } else { Err(Refusal::internal()) }
    });

    assert_eq!(open.get("/api/push/key").await.body, json!({ "publicKey": "B" }));
    let subscription = json!({ "endpoint": "e", "expirationTime": null, "keys": { "p256dh": "p", "auth": "a" } });
    let path = "/api/push/subscriptions";
    assert_eq!(rest.post(path, subscription.clone()).await.status, 201);
    assert_eq!(rest.send(Method::DELETE, path, Some(json!({ "endpoint": "e" }))).await.status, 204);

    assert_problem(&open.post(path, subscription).await, 401, "unauthenticated");
    assert_problem(&open.delete(path).await, 401, "unauthenticated");
    for (body, field) in [
        (json!({ "keys": { "p256dh": "p", "auth": "a" } }), "endpoint"),
        (json!({ "endpoint": "e", "keys": { "p256dh": "p" } }), "keys.auth"),
        (json!({ "endpoint": "e", "keys": { "p256dh": 1, "auth": "a" } }), "keys.p256dh"),
    ] {
        let refused = rest.post(path, body).await;
        assert_problem(&refused, 422, "invalid");
        assert_eq!(refused.body["errors"][0]["field"], field);
    }
    world.answer("call.mail.push_key", |_| Err(Refusal::unavailable("Off.")));
    assert_problem(&open.get("/api/push/key").await, 503, "unavailable");
}

#[tokio::test]
async fn signing_out_counts_at_once() {
    let world = World::start().await;
    let gateway = world.gateway().await;
    let person = Person::new();
    world.answer("call.user.logout", |_| Ok(json!({})));
    let client = world.client(&gateway, person).await;
    let rest = world.rest(&gateway, person);
    assert_eq!(rest.post("/api/auth/logout", Value::Null).await.status, 204);
    assert_problem(&rest.get("/api/auth/me").await, 401, "unauthenticated");
    client.wait("session:revoked", |_| true, crate::world::SOON).await;
}

#[tokio::test]
async fn browsers_may_call_from_where_they_are_allowed_to() {
    let world = World::start().await;
    let any = world.gateway().await;
    let one = world.gateway_with(|config| config.http.allowed_origins = "https://a.org, https://b.org".into()).await;
    let preflight = |url: &str, origin: &str| {
        let request = Rest::new(url).request(Method::OPTIONS, "/api/messages");
        let request = request.header("origin", origin).header("access-control-request-method", "POST");
        answer(request.header("access-control-request-headers", "authorization,content-type"))
    };
    let allowed = preflight(&any.url, "https://x.org").await;
    assert_eq!(allowed.headers["access-control-allow-origin"], "*");
    assert_eq!(allowed.headers["access-control-allow-headers"], "authorization,content-type");
    assert_eq!(preflight(&one.url, "https://b.org").await.headers["access-control-allow-origin"], "https://b.org");
    assert!(preflight(&one.url, "https://x.org").await.headers.get("access-control-allow-origin").is_none());
}
