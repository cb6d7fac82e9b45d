//! Signing in with a password.

use std::time::{Duration, Instant};

use contract::Code;
use futures::future::join_all;
use mongodb::bson::doc;
use serde_json::json;

use crate::world::{PASSWORD, World, refused};

const ANNA: &str = "anna@example.org";

#[tokio::test]
async fn unknown_and_wrong_are_one_answer_for_the_same_work() {
    let mut world = World::start().await;
    world.sign_up(ANNA).await;
    world.request_otp("ben@example.org").await.unwrap();
    world.verify("ben@example.org", &world.code("ben@example.org").await).await.unwrap();
    world.register("unverified@example.org", PASSWORD).await.unwrap();
    // A process of its own: its metrics count nothing else.
    let service = world.move_to_a_process().await;

    let mut answers = Vec::new();
    for email in ["nobody@example.org", ANNA, "ben@example.org", "unverified@example.org"] {
        let before = service.counter("natter_user_hashes_total").await;
        answers.push(refused(world.login(email, "a wrong password").await, Code::Unauthenticated));
        assert_eq!(service.counter("natter_user_hashes_total").await, before + 1, "{email}");
    }

    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn a_password_is_hashed_anew_when_the_parameters_have_changed() {
    let world = World::start().await;
    world.sign_up(ANNA).await;
    let hash =
        async |world: &World| world.documents("users", doc! {}).await[0].get_str("passwordHash").unwrap().to_owned();
    let old = hash(&world).await;

    let world = world.restart_with(json!({ "hash_passes": 3 })).await;
    refused(world.login(ANNA, "a wrong password").await, Code::Unauthenticated);
    assert_eq!(hash(&world).await, old);
    world.login(ANNA, PASSWORD).await.unwrap();

    assert!(hash(&world).await.starts_with("$argon2id$v=19$m=8,t=3,p=1$"));
    world.login(ANNA, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_flood_of_sign_ins_slows_down_sign_ins_and_nothing_else() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;
    let mut world = world
        .restart_with(json!({ "hash_memory_kib": 16_384, "hash_passes": 3, "hash_concurrency": 1, "hash_queue": 2 }))
        .await;
    world.caller = world.caller.within(Duration::from_secs(30));

    let flood = async {
        let answers = join_all((0..20).map(|_| world.login("nobody@example.org", PASSWORD))).await;
        (answers, Instant::now())
    };
    let others = async {
        for _ in 0..5 {
            world.me(&tokens).await;
        }
        Instant::now()
    };
    let ((flood, flood_ended), others_ended) = tokio::join!(flood, others);

    let (limited, served): (Vec<_>, Vec<_>) =
        flood.into_iter().map(Result::unwrap_err).partition(|refusal| refusal.code == Code::RateLimited);
    assert_eq!((limited.len(), served.len()), (17, 3));
    assert!(limited.iter().all(|refusal| refusal.retry_after.is_some()));
    assert!(served.iter().all(|refusal| refusal.code == Code::Unauthenticated), "{served:?}");
    assert!(others_ended < flood_ended, "others had to wait");
}

#[tokio::test]
async fn passwords_of_one_account_are_not_tried_for_ever() {
    let world = World::start().await;
    world.sign_up(ANNA).await;
    for _ in 0..20 {
        refused(world.login(ANNA, "another one").await, Code::Unauthenticated);
    }
    // The right one as well: it must not be told from the others.
    for password in ["another one", PASSWORD] {
        assert_eq!(refused(world.login(ANNA, password).await, Code::RateLimited).retry_after, Some(5));
    }
    refused(world.login("ben@example.org", PASSWORD).await, Code::Unauthenticated);
    // A code lets its owner in.
    world.request_otp(ANNA).await.unwrap();
    world.verify(ANNA, &world.code(ANNA).await).await.unwrap();
}
