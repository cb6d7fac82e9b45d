//! A password that was forgotten: a code of its own sets a new one and signs everybody out.

use contract::Code;
use futures::future::join_all;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};

use crate::world::{PASSWORD, World, other_than, refused};

const ANNA: &str = "anna@example.org";
const NEW: &str = "a brand new password";

async fn reset_code(world: &World) -> String {
    world.forgot_password(ANNA).await.unwrap();
    world.reset_codes(ANNA).await.pop().expect("a code was mailed")
}

#[tokio::test]
async fn a_code_sets_a_new_password_and_ends_all_sessions() {
    let world = World::start().await;
    let (one, other) = (world.sign_up(ANNA).await, world.login(ANNA, PASSWORD).await.unwrap());
    let bystander = world.sign_up("ben@example.org").await;
    let code = reset_code(&world).await;
    assert_eq!(world.letters(ANNA).await.last().unwrap().name.as_deref(), Some("Anna"));

    world.reset_password(ANNA, &format!(" {code} "), NEW).await.unwrap();

    for tokens in [&one, &other] {
        assert!(world.revoked_entry(world.actor(tokens).await.session_id).await.is_some(), "gateways hear of it");
        refused(world.refresh(&tokens.refresh_token).await, Code::Unauthenticated);
    }
    assert!(world.sessions(&one).await.is_empty());
    world.refresh(&bystander.refresh_token).await.unwrap();
    refused(world.login(ANNA, PASSWORD).await, Code::Unauthenticated);
    let tokens = world.login(ANNA, NEW).await.unwrap();
    assert!(tokens.user.email_verified);
    refused(world.reset_password(ANNA, &code, NEW).await, Code::Unauthenticated);
    world.refresh(&tokens.refresh_token).await.expect("a code that was used ends nothing");
}

#[tokio::test]
async fn an_account_without_a_password_gets_one() {
    let world = World::start().await;
    world.request_otp(ANNA).await.unwrap();
    world.verify(ANNA, &world.code(ANNA).await).await.unwrap();
    world.reset_password(ANNA, &reset_code(&world).await, NEW).await.unwrap();
    world.login(ANNA, NEW).await.unwrap();
}

#[tokio::test]
async fn who_has_no_account_is_answered_the_same_and_gets_nothing() {
    let world = World::start().await;
    world.sign_up(ANNA).await;
    world.register("unverified@example.org", PASSWORD).await.unwrap();

    let mut answers = Vec::new();
    for email in ["nobody@example.org", "unverified@example.org", ANNA] {
        let before = world.letters(email).await.len();
        world.forgot_password(email).await.unwrap();
        world.forgot_password(email).await.expect("one is on its way");
        assert_eq!(world.letters(email).await.len(), before + usize::from(email == ANNA), "{email}");
        let code = world.reset_codes(email).await.pop().unwrap_or_else(|| "000000".to_owned());
        for _ in 0..5 {
            answers.push(refused(world.reset_password(email, other_than(&code), NEW).await, Code::Unauthenticated));
        }
        let wait = refused(world.forgot_password(email).await, Code::RateLimited);
        assert!((1..=60).contains(&wait.retry_after.unwrap()), "{email}: {wait:?}");
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn four_wrong_tries_leave_a_code_alive_and_five_kill_it() {
    for (tries, good) in [(4, true), (5, false)] {
        let world = World::start().await;
        world.sign_up(ANNA).await;
        let code = reset_code(&world).await;
        for _ in 0..tries {
            refused(world.reset_password(ANNA, other_than(&code), NEW).await, Code::Unauthenticated);
        }
        assert_eq!(world.reset_password(ANNA, &code, NEW).await.is_ok(), good);
        assert_eq!(world.login(ANNA, NEW).await.is_ok(), good);
    }
}

#[tokio::test]
async fn a_code_is_for_what_it_was_asked_for() {
    let world = World::start().await;
    world.sign_up(ANNA).await;
    let reset = reset_code(&world).await;
    world.request_otp(ANNA).await.unwrap();
    let sign_in = world.code(ANNA).await;
    if reset == sign_in {
        return;
    }

    refused(world.verify(ANNA, &reset).await, Code::Unauthenticated);
    refused(world.reset_password(ANNA, &sign_in, NEW).await, Code::Unauthenticated);

    // And neither is used up.
    world.verify(ANNA, &sign_in).await.unwrap();
    world.reset_password(ANNA, &reset, NEW).await.unwrap();
}

#[tokio::test]
async fn of_two_passwords_at_once_one_is_set() {
    let world = World::start().await;
    world.sign_up(ANNA).await;
    let code = reset_code(&world).await;
    let passwords: Vec<_> = (0..6).map(|number| format!("new password {number}")).collect();

    let resets = join_all(passwords.iter().map(|password| world.reset_password(ANNA, &code, password))).await;

    let mut set = Vec::new();
    for (reset, password) in resets.into_iter().zip(&passwords) {
        let login = world.login(ANNA, password).await;
        assert_eq!(reset.is_ok(), login.is_ok(), "{password}: {reset:?}");
        set.extend(login);
    }
    assert_eq!(set.len(), 1);
}

/// What NATS or a process that dies leaves: the code is bound, its password may have been set, sessions may be ending.
#[tokio::test]
async fn what_failed_half_way_is_completed_by_the_same_request_and_by_no_other() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;
    let session = world.actor(&tokens).await.session_id;
    let code = reset_code(&world).await;
    let password_hash = async || world.documents("users", doc! {}).await[0].get_str("passwordHash").unwrap().to_owned();
    let old = password_hash().await;
    world.seal_revoked(true).await;

    refused(world.reset_password(ANNA, &code, NEW).await, Code::Unavailable);
    assert_eq!(password_hash().await, old, "no reset while sessions cannot end");
    refused(world.reset_password(ANNA, &code, "another password").await, Code::Unauthenticated);
    world.seal_revoked(false).await;

    world.reset_password(ANNA, &code, NEW).await.unwrap();
    assert!(world.revoked_entry(session).await.is_some() && world.documents("sessions", doc! {}).await.is_empty());
    world.login(ANNA, NEW).await.unwrap();
}

#[tokio::test]
async fn a_sign_in_that_is_overtaken_by_a_reset_ends() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;
    // Whichever comes first, nobody stays in with the old password.
    for round in 0..5 {
        let old = if round == 0 { PASSWORD.to_owned() } else { format!("new password {}", round - 1) };
        let new = format!("new password {round}");
        let code = reset_code(&world).await;

        let (reset, logins) =
            tokio::join!(world.reset_password(ANNA, &code, &new), join_all((0..8).map(|_| world.login(ANNA, &old))));

        reset.unwrap();
        for login in logins.into_iter().flatten() {
            refused(world.refresh(&login.refresh_token).await, Code::Unauthenticated);
        }
        assert!(world.sessions(&tokens).await.is_empty());
    }
}

#[tokio::test]
async fn many_sessions_end_too() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;
    let sessions = world.mongo.connect().await.collection::<Document>("sessions");
    let one = world.documents("sessions", doc! {}).await.remove(0);
    let copies = (0..300).map(|_| {
        let mut copy = one.clone();
        copy.insert("_id", contract::SessionId::new().to_string());
        copy.insert("lastUsedAt", DateTime::now());
        copy
    });
    sessions.insert_many(copies).await.unwrap();

    world.reset_password(ANNA, &reset_code(&world).await, NEW).await.unwrap();

    assert!(world.documents("sessions", doc! {}).await.is_empty() && world.sessions(&tokens).await.is_empty());
}

#[tokio::test]
async fn what_is_stored_tells_neither_code_nor_password() {
    let world = World::start_with(json!({ "otp_tries": 100 })).await;
    world.sign_up(ANNA).await;
    let code = reset_code(&world).await;
    let entry = world.otp_entry("reset").await.unwrap();
    let mut value: Value = serde_json::from_slice(&entry.payload).unwrap();
    assert_eq!(value["mac"].take().as_str().unwrap().len(), 44);
    let stored = format!("{} {value}", entry.subject);
    for secret in ["anna", NEW, &code] {
        assert!(!stored.contains(secret), "{stored}");
    }
    world.reset_password(ANNA, &code, NEW).await.unwrap();
    assert!(world.otp_entry("reset").await.unwrap().payload.is_empty(), "a used code leaves nothing");
}
