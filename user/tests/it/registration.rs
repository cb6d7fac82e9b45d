//! Registering with a password: what comes into force, for whom, and what others can learn from it.

use std::time::Duration;

use contract::{Code, mail::Content};
use futures::future::join_all;
use mongodb::bson::doc;
use serde_json::json;
use testkit::eventually;

use crate::world::{PASSWORD, SOON, World, address, other_than, refused};

const ANNA: &str = "anna@example.org";
const ATTACKERS: &str = "what the attacker chose";

#[tokio::test]
async fn register_verify_and_be_somebody() {
    let world = World::start().await;

    let answer = world.register(" Anna@Example.org ", PASSWORD).await.unwrap();
    assert_eq!(answer.status, "verification_required");
    let [letter] = &world.letters(ANNA).await[..] else { panic!("one letter") };
    assert_eq!(letter.name.as_deref(), Some("Anna"));
    let code = world.code(ANNA).await;
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");

    let tokens = world.verify(ANNA, &format!(" {code}\n")).await.unwrap();

    assert_eq!((tokens.token_type.as_str(), tokens.expires_in), ("Bearer", 900));
    let me = world.me(&tokens).await;
    assert_eq!(me, tokens.user);
    assert_eq!((&*me.user.name, &me.email, me.email_verified), ("Anna", &address(ANNA), true));
    assert_eq!(world.login(ANNA, PASSWORD).await.unwrap().user, me);
}

#[tokio::test]
async fn a_taken_address_answers_the_same_and_its_owner_gets_one_notice() {
    let world = World::start().await;
    world.sign_up(ANNA).await;

    let taken = world.register(ANNA, ATTACKERS).await.unwrap();
    world.register(ANNA, ATTACKERS).await.unwrap();
    let free = world.register("ben@example.org", ATTACKERS).await.unwrap();

    assert_eq!(taken.status, free.status);
    let letters = world.letters(ANNA).await;
    assert_eq!(letters.len(), 2, "the code and one notice");
    assert!(matches!(letters[1].content, Content::AlreadyRegistered {}));
    refused(world.login(ANNA, ATTACKERS).await, Code::Unauthenticated);
    world.login(ANNA, PASSWORD).await.unwrap();
}

/// Also with wrong codes in between, which kill the code of a free address.
#[tokio::test]
async fn no_sequence_of_answers_tells_taken_from_free() {
    let world = World::start().await;
    world.sign_up(ANNA).await;

    let mut answers = Vec::new();
    for email in [ANNA, "ben@example.org"] {
        let mut said = Vec::new();
        for _ in 0..2 {
            said.push(world.register(email, ATTACKERS).await.map(|answer| answer.status));
        }
        let code = world.codes(email).await.pop().unwrap_or_default();
        for _ in 0..6 {
            said.push(world.verify(email, other_than(&code)).await.map(|_| String::new()));
        }
        said.push(world.register(email, ATTACKERS).await.map(|answer| answer.status));
        // How long to wait depends on when it began.
        said.iter_mut().filter_map(|answer| answer.as_mut().err()).for_each(|refusal| refusal.retry_after = None);
        answers.push(said);
    }

    assert_eq!(answers[0], answers[1]);
    refused(answers.remove(1).remove(8), Code::RateLimited);
}

#[tokio::test]
async fn twenty_registrations_at_once_make_one_account() {
    let world = World::start().await;

    for answer in join_all((0..20).map(|_| world.register(ANNA, PASSWORD))).await {
        answer.unwrap();
    }

    assert_eq!(world.letters(ANNA).await.len(), 1);
    assert_eq!(world.documents("users", doc! {}).await.len(), 1);
    world.verify(ANNA, &world.code(ANNA).await).await.unwrap();
    world.login(ANNA, PASSWORD).await.expect("the same password twenty times is no contradiction");
}

#[tokio::test]
async fn two_proofs_at_once_make_one_account() {
    let world = World::start().await;
    for round in 0..10 {
        let email = format!("anna{round}@example.org");
        world.register(&email, PASSWORD).await.unwrap();
        world.request_otp(&email).await.unwrap();
        let codes = world.codes(&email).await;

        let (one, other) = tokio::join!(world.verify(&email, &codes[0]), world.verify(&email, &codes[1]));

        assert_eq!(one.unwrap().user, other.unwrap().user);
    }
    // And where nobody had registered before.
    let addresses: Vec<_> = (0..10).map(|round| format!("ben{round}@example.org")).collect();
    for email in &addresses {
        world.request_otp(email).await.unwrap();
        let code = world.code(email).await;
        let (verified, registered) = tokio::join!(world.verify(email, &code), world.register(email, ATTACKERS));
        verified.unwrap();
        registered.unwrap();
        refused(world.login(email, ATTACKERS).await, Code::Unauthenticated);
    }
    assert_eq!(world.documents("users", doc! {}).await.len(), 20);
}

#[tokio::test]
async fn nobody_elses_password_comes_with_a_code_to_sign_in() {
    let world = World::start().await;
    world.register(ANNA, ATTACKERS).await.unwrap();
    let registration = world.code(ANNA).await;

    world.request_otp(ANNA).await.unwrap();
    let tokens = world.verify(ANNA, &world.code(ANNA).await).await.unwrap();

    assert!(tokens.user.email_verified);
    refused(world.login(ANNA, ATTACKERS).await, Code::Unauthenticated);
    // The code of the registration still signs in who reads the mail, and brings nothing else with it.
    assert_eq!(world.verify(ANNA, &registration).await.unwrap().user, tokens.user);
    refused(world.login(ANNA, ATTACKERS).await, Code::Unauthenticated);
}

#[tokio::test]
async fn of_two_mailed_codes_the_one_of_the_registration_brings_no_password() {
    let world = World::start().await;
    world.request_otp(ANNA).await.unwrap();
    world.register(ANNA, ATTACKERS).await.unwrap();

    world.verify(ANNA, &world.code(ANNA).await).await.unwrap();

    refused(world.login(ANNA, ATTACKERS).await, Code::Unauthenticated);
}

#[tokio::test]
async fn two_registrations_with_different_passwords_leave_none() {
    let world = World::start_with(json!({ "otp_resend_seconds": 1 })).await;
    for (email, passwords) in [(ANNA, [ATTACKERS, PASSWORD]), ("ben@example.org", [PASSWORD, ATTACKERS])] {
        for password in passwords {
            world.register(email, password).await.unwrap();
        }
        world.verify(email, &world.code(email).await).await.unwrap();
        for password in passwords {
            refused(world.login(email, password).await, Code::Unauthenticated);
        }
    }
    // Also where the second one is mailed a code of its own.
    let email = "carl@example.org";
    world.register(email, PASSWORD).await.unwrap();
    eventually("a second code", SOON, async || {
        world.register(email, ATTACKERS).await.unwrap();
        (world.codes(email).await.len() == 2).then_some(())
    })
    .await;
    refused(world.verify(email, &world.codes(email).await[0]).await, Code::Unauthenticated);
    world.verify(email, &world.code(email).await).await.unwrap();
    refused(world.login(email, ATTACKERS).await, Code::Unauthenticated);
}

#[tokio::test]
async fn an_unverified_sign_in_is_told_so_and_mailed_a_code_for_that_password() {
    let world = World::start_with(json!({ "otp_seconds": 2, "otp_resend_seconds": 1 })).await;
    world.register(ANNA, PASSWORD).await.unwrap();

    refused(world.login(ANNA, ATTACKERS).await, Code::Unauthenticated);
    refused(world.login(ANNA, PASSWORD).await, Code::EmailUnverified);
    assert_eq!(world.letters(ANNA).await.len(), 1, "one is on its way");
    // When the first one has expired.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    refused(world.login(ANNA, PASSWORD).await, Code::EmailUnverified);

    let codes = world.codes(ANNA).await;
    assert_eq!(codes.len(), 2);
    refused(world.verify(ANNA, other_than(&codes[1])).await, Code::Unauthenticated);
    world.verify(ANNA, &codes[1]).await.unwrap();
    world.login(ANNA, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn an_address_that_nobody_proves_is_forgotten_and_one_that_is_proven_is_not() {
    let world = World::start().await;
    world.register(ANNA, PASSWORD).await.unwrap();
    let noted = world.documents("users", doc! {}).await.remove(0);
    assert!(noted.get_datetime("unverifiedUntil").is_ok());

    world.verify(ANNA, &world.code(ANNA).await).await.unwrap();

    let proven = world.documents("users", doc! {}).await.remove(0);
    assert!(proven.get("unverifiedUntil").is_none());
}

#[tokio::test]
async fn a_code_that_could_not_be_queued_is_not_waited_for() {
    let world = World::start_on(testkit::Nats::start().await, testkit::Mongo::shared().await, json!({})).await;
    refused(world.register(ANNA, PASSWORD).await, Code::Unavailable);
    refused(world.request_otp(ANNA).await, Code::Unavailable);

    world.create_mail_stream().await;
    world.register(ANNA, PASSWORD).await.unwrap();
    world.request_otp(ANNA).await.unwrap();

    assert_eq!(world.codes(ANNA).await.len(), 2);
}
