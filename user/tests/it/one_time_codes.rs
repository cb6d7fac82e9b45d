//! One-time codes: six digits are few, so each try counts.

use std::time::Duration;

use contract::{Code, storage::OTP_BUCKET};
use futures::future::join_all;
use mongodb::bson::doc;
use serde_json::{Value, json};
use testkit::eventually;

use crate::world::{SOON, World, other_than, refused};

const ANNA: &str = "anna@example.org";

#[tokio::test]
async fn a_code_signs_up_and_later_in() {
    let world = World::start().await;

    world.request_otp(ANNA).await.unwrap();
    let up = world.verify(ANNA, &world.code(ANNA).await).await.unwrap();
    world.request_otp(ANNA).await.expect("after a code is used the next may be asked for at once");
    let again = world.verify(ANNA, &world.code(ANNA).await).await.unwrap();

    assert_eq!(&*up.user.user.name, "anna");
    assert_eq!(up.user, again.user);
    assert_eq!(world.documents("users", doc! {}).await.len(), 1);
    assert_eq!(world.sessions(&again).await.len(), 2);
}

#[tokio::test]
async fn a_code_works_once_also_in_parallel() {
    let world = World::start().await;
    for round in 0..5 {
        let email = format!("anna{round}@example.org");
        world.request_otp(&email).await.unwrap();
        let code = world.code(&email).await;

        let verified = join_all((0..10).map(|_| world.verify(&email, &code))).await;

        assert_eq!(verified.iter().filter(|verified| verified.is_ok()).count(), 1);
        verified.into_iter().filter(Result::is_err).for_each(|verified| drop(refused(verified, Code::Unauthenticated)));
        refused(world.verify(&email, &code).await, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_code_is_for_one_address() {
    let world = World::start().await;
    world.request_otp(ANNA).await.unwrap();
    world.request_otp("ben@example.org").await.unwrap();
    let code = world.code(ANNA).await;
    if world.code("ben@example.org").await != code {
        refused(world.verify("ben@example.org", &code).await, Code::Unauthenticated);
    }
    refused(world.verify("nobody@example.org", &code).await, Code::Unauthenticated);
}

#[tokio::test]
async fn four_wrong_tries_leave_a_code_alive_and_five_kill_it() {
    let world = World::start().await;
    for (email, tries) in [(ANNA, 4), ("ben@example.org", 5)] {
        world.request_otp(email).await.unwrap();
        let code = world.code(email).await;
        for _ in 0..tries {
            refused(world.verify(email, other_than(&code)).await, Code::Unauthenticated);
        }

        let verified = world.verify(email, &code).await;

        if tries == 4 { drop(verified.unwrap()) } else { drop(refused(verified, Code::Unauthenticated)) }
    }
}

#[tokio::test]
async fn tries_at_once_all_count() {
    let world = World::start().await;
    world.request_otp(ANNA).await.unwrap();
    let code = world.code(ANNA).await;

    for verified in join_all((0..20).map(|_| world.verify(ANNA, other_than(&code)))).await {
        refused(verified, Code::Unauthenticated);
    }

    let entry: Value = serde_json::from_slice(&world.otp_entry("signin").await.unwrap().payload).unwrap();
    assert_eq!(entry["attempts"], 5);
    refused(world.verify(ANNA, &code).await, Code::Unauthenticated);
}

#[tokio::test]
async fn a_wrong_try_counts_against_all_that_could_have_been_meant() {
    let world = World::start().await;
    world.register(ANNA, "correct horse").await.unwrap();
    world.request_otp(ANNA).await.unwrap();
    let codes = world.codes(ANNA).await;
    let wrong =
        ["000000", "000001", "000002"].into_iter().find(|wrong| codes.iter().all(|code| code != wrong)).unwrap();

    for _ in 0..5 {
        refused(world.verify(ANNA, wrong).await, Code::Unauthenticated);
    }

    for code in &codes {
        refused(world.verify(ANNA, code).await, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn a_wrong_try_does_not_prolong_a_code() {
    let world = World::start_with(json!({ "otp_seconds": 3, "otp_tries": 1_000_000 })).await;
    world.request_otp(ANNA).await.unwrap();
    let code = world.code(ANNA).await;
    let first = world.otp_entry("signin").await.unwrap();
    assert_eq!(ttl(&first.headers), 3);

    let later = eventually("the time that is left to get less", SOON, async || {
        refused(world.verify(ANNA, other_than(&code)).await, Code::Unauthenticated);
        world
            .otp_entry("signin")
            .await
            .filter(|entry| entry.headers.get("Nats-TTL").is_some_and(|ttl| ttl.as_str() == "1"))
    })
    .await;
    let (first, later): (Value, Value) =
        (serde_json::from_slice(&first.payload).unwrap(), serde_json::from_slice(&later.payload).unwrap());
    assert_eq!(first["expiresAt"], later["expiresAt"]);

    eventually("the code to be gone", SOON, async || {
        world.otp_entry("signin").await.filter(|entry| entry.headers.get("Nats-Marker-Reason").is_some())
    })
    .await;
    refused(world.verify(ANNA, &code).await, Code::Unauthenticated);
    world.request_otp(ANNA).await.unwrap();
    assert_eq!(ttl(&world.otp_entry("signin").await.unwrap().headers), 3, "over an expiry marker too");
}

#[tokio::test]
async fn one_mail_at_a_time() {
    let world = World::start().await;

    for answer in join_all((0..20).map(|_| world.request_otp(ANNA))).await {
        answer.unwrap();
    }
    world.request_otp(ANNA).await.unwrap();

    let [code] = &world.codes(ANNA).await[..] else { panic!("one mail") };
    for _ in 0..5 {
        refused(world.verify(ANNA, other_than(code)).await, Code::Unauthenticated);
    }
    let refusal = refused(world.request_otp(ANNA).await, Code::RateLimited);
    assert!((1..=60).contains(&refusal.retry_after.unwrap()), "{refusal:?}");
    assert_eq!(world.letters(ANNA).await.len(), 1);
}

#[tokio::test]
async fn after_a_while_there_is_a_new_code_and_the_old_one_is_dead() {
    let world = World::start_with(json!({ "otp_resend_seconds": 1 })).await;
    world.request_otp(ANNA).await.unwrap();
    let old = world.code(ANNA).await;
    for _ in 0..5 {
        refused(world.verify(ANNA, other_than(&old)).await, Code::Unauthenticated);
    }

    eventually("the wait to be over", SOON, async || world.request_otp(ANNA).await.ok()).await;

    let new = world.code(ANNA).await;
    if new != old {
        refused(world.verify(ANNA, &old).await, Code::Unauthenticated);
    }
    world.verify(ANNA, &new).await.unwrap();
}

#[tokio::test]
async fn what_is_stored_tells_neither_code_nor_address() {
    let world = World::start().await;
    world.register(ANNA, "correct horse").await.unwrap();
    let entry = world.otp_entry("register").await.unwrap();
    let mut value: Value = serde_json::from_slice(&entry.payload).unwrap();
    // Whose base64 could contain any six digits by chance.
    assert_eq!(value["mac"].take().as_str().unwrap().len(), 44);
    let stored = format!("{} {value}", entry.subject);
    for secret in ["anna", "correct horse", &world.code(ANNA).await] {
        assert!(!stored.contains(secret), "{stored}");
    }
    assert!(entry.subject.starts_with(&format!("$KV.{OTP_BUCKET}.code.register.")));
    // A used code leaves nothing but a note that goes by itself.
    world.verify(ANNA, &world.code(ANNA).await).await.unwrap();
    let used = world.otp_entry("register").await.unwrap();
    assert!(used.payload.is_empty() && ttl(&used.headers) <= Duration::from_mins(1).as_secs());
}

fn ttl(headers: &async_nats::HeaderMap) -> u64 {
    let ttl = headers.get("Nats-TTL").expect("it expires").as_str();
    ttl.trim_end_matches('s').parse().unwrap()
}
