//! Sessions as a frontend lives with them: over all gateways at once.

use serde_json::json;
use testkit::{System, SystemOptions, rest::Rest, socketio::Driver};

use crate::sight::{SOON, person};

#[tokio::test]
async fn a_password_account_from_registration_to_logout() {
    let system = System::start(SystemOptions::default()).await;
    let rest = system.rest();
    let account = json!({ "email": " Anna@Example.org ", "password": "correct horse", "name": "Anna" });
    let answer = rest.post("/api/auth/register", account.clone()).await.expect(202);
    assert_eq!(answer, json!({ "status": "verification_required" }));
    let login = json!({ "email": "anna@example.org", "password": "correct horse" });
    assert_eq!(rest.post("/api/auth/login", login.clone()).await.expect(403)["code"], "email_unverified");
    let code = system.code_after("anna@example.org", 0).await;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    let verify = |code: &str| json!({ "email": "anna@example.org", "code": code });
    assert_eq!(rest.post("/api/auth/verify", verify(wrong)).await.expect(401)["code"], "unauthenticated");
    let tokens = rest.post("/api/auth/verify", verify(&code)).await.expect(200);
    assert_eq!((&tokens["tokenType"], &tokens["user"]["name"]), (&json!("Bearer"), &json!("Anna")));
    assert_eq!(rest.post("/api/auth/verify", verify(&code)).await.status, 401, "a code works once");

    let tokens = rest.post("/api/auth/login", login).await.expect(200);
    let me = rest.with_token(tokens["accessToken"].as_str().unwrap());
    let account_now = me.get("/api/auth/me").await.expect(200);
    assert_eq!((&account_now["emailVerified"], &account_now["role"]), (&json!(true), &json!("user")));
    assert_eq!(me.get("/api/auth/sessions").await.expect(200)["sessions"].as_array().map(Vec::len), Some(2));
    // The owner of a taken address is told, nobody else is.
    assert_eq!(rest.post("/api/auth/register", account).await.expect(202), answer);
    testkit::eventually("the notice", SOON, async || {
        system.letters("anna@example.org").iter().any(|letter| letter.contains("already")).then_some(())
    })
    .await;

    let fresh = rest.post("/api/auth/refresh", json!({ "refreshToken": tokens["refreshToken"] })).await.expect(200);
    assert_ne!(fresh["refreshToken"], tokens["refreshToken"]);
    let me = rest.with_token(fresh["accessToken"].as_str().unwrap());
    me.post("/api/auth/logout", json!({})).await.expect(204);
    testkit::eventually("the token is refused", SOON, async || {
        (me.get("/api/auth/me").await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn logout_closes_the_sockets_of_the_session_on_every_gateway() {
    let system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let anna = person(&system, &driver, "anna", 0).await;
    let far = driver.connect(&system.gateway(1).url(), &anna.session.access_token).await.unwrap();
    let other_session = system.sign_up("anna@example.org").await;
    let stays = driver.connect(&system.gateway(1).url(), &other_session.access_token).await.unwrap();

    anna.rest.post("/api/auth/logout", json!({})).await.expect(204);
    for socket in [&anna.socket, &far] {
        socket.wait("session:revoked", |_| true, SOON).await;
        socket.wait("disconnect", |_| true, SOON).await;
    }
    for gateway in 0..2 {
        let url = system.gateway(gateway).url();
        let refused = driver.connect(&url, &anna.session.access_token).await.err().unwrap();
        assert_eq!(refused.message, "unauthenticated");
        let rest = Rest::new(url).with_token(&anna.session.access_token);
        assert_eq!(rest.get("/api/auth/me").await.expect(401)["code"], "unauthenticated");
    }
    // Another session of the same person goes on.
    assert_eq!(stays.request("sync", json!({ "chats": {} })).await["ok"], true);
}

#[tokio::test]
async fn a_forgotten_password_is_set_anew_and_everybody_is_signed_out() {
    let system = System::start(SystemOptions { gateways: 2, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let rest = system.rest();
    let anna = person(&system, &driver, "anna", 0).await;
    let far = driver.connect(&system.gateway(1).url(), &anna.session.access_token).await.unwrap();
    let ben = person(&system, &driver, "ben", 0).await;

    let before = system.letters("anna@example.org").len();
    let forgot = |email: &str| json!({ "email": email });
    let known = rest.post("/api/auth/password/forgot", forgot(" Anna@example.org")).await.expect(202);
    assert_eq!(rest.post("/api/auth/password/forgot", forgot("nobody@example.org")).await.expect(202), known);
    let code = system.code_after("anna@example.org", before).await;
    let with = |code: &str, password: &str| json!({ "email": "anna@example.org", "code": code, "password": password });
    let path = "/api/auth/password/reset";
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(rest.post(path, with(wrong, "correct horse")).await.expect(401)["code"], "unauthenticated");
    assert_eq!(rest.post(path, with(&code, "short")).await.expect(422)["errors"][0]["field"], "password");
    let verify = json!({ "email": "anna@example.org", "code": code });
    assert_eq!(rest.post("/api/auth/verify", verify).await.status, 401, "it lets nobody in");

    rest.post(path, with(&code, "correct horse")).await.expect(204);
    for socket in [&anna.socket, &far] {
        socket.wait("session:revoked", |_| true, SOON).await;
        socket.wait("disconnect", |_| true, SOON).await;
    }
    testkit::eventually("the token is refused", SOON, async || {
        (anna.rest.get("/api/auth/me").await.status == 401).then_some(())
    })
    .await;
    let refresh = json!({ "refreshToken": anna.session.refresh_token });
    assert_eq!(rest.post("/api/auth/refresh", refresh).await.status, 401);
    assert_eq!(rest.post(path, with(&code, "correct horse")).await.status, 401, "a code works once");

    let login = json!({ "email": "anna@example.org", "password": "correct horse", "device": "Another one" });
    let tokens = rest.post("/api/auth/login", login).await.expect(200);
    let url = system.gateway(1).url();
    driver.connect(&url, tokens["accessToken"].as_str().unwrap()).await.unwrap();
    testkit::eventually("the notice of a new device", SOON, async || {
        let letters = system.letters("anna@example.org");
        letters.iter().any(|letter| letter.contains("New sign-in to your Natter account")).then_some(())
    })
    .await;
    // Nobody else was signed out.
    assert_eq!(ben.socket.request("sync", json!({ "chats": {} })).await["ok"], true);
}

#[tokio::test]
async fn a_revoked_session_stays_so_when_everything_restarts() {
    let mut system = System::start(SystemOptions::default()).await;
    let driver = Driver::start().await;
    let anna = person(&system, &driver, "anna", 0).await;
    let other = system.sign_up("anna@example.org").await;
    anna.rest.post("/api/auth/logout", json!({})).await.expect(204);
    anna.socket.wait("session:revoked", |_| true, SOON).await;
    for name in ["gateway", "user", "chat"] {
        system.instance(name, 0).kill().await;
    }
    system.nats.kill().await;
    system.nats.start_again().await;
    for name in ["user", "chat", "gateway"] {
        system.start_again(name, 0).await;
    }
    let url = system.gateway(0).url();
    let refused = driver.connect(&url, &anna.session.access_token).await.err().unwrap();
    assert_eq!(refused.message, "unauthenticated");
    driver.connect(&url, &other.access_token).await.unwrap();
}

#[tokio::test]
async fn a_socket_lives_as_long_as_its_token_and_longer_with_a_new_one() {
    // Long enough to sign in on a busy machine.
    let system = System::start(SystemOptions::default().with("NATTER_AUTH__ACCESS_TOKEN_SECONDS", "9")).await;
    let driver = Driver::start().await;
    let anna = person(&system, &driver, "anna", 0).await;
    let stays = driver.connect(&system.gateway(0).url(), &anna.session.access_token).await.unwrap();
    // Tokens tell their end in whole seconds: the second one is to end clearly later.
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let refresh = json!({ "refreshToken": anna.session.refresh_token });
    let fresh = system.rest().post("/api/auth/refresh", refresh).await.expect(200);
    let ack = stays.request("auth:refresh", json!({ "token": fresh["accessToken"] })).await;
    assert_eq!(ack, json!({ "ok": true }));
    anna.socket.wait("session:expired", |_| true, SOON).await;
    anna.socket.wait("disconnect", |args| args[0] == "io server disconnect", SOON).await;
    assert!(stays.events_named("session:expired").is_empty());
    stays.wait("session:expired", |_| true, SOON).await;
}
