//! Signing in with a password.

use std::time::{Duration, Instant};

use contract::Code;
use futures::future::join_all;
use mongodb::bson::doc;
use serde_json::json;

use crate::world::{PASSWORD, World, refused};

const ANNA: &str = "anna@example.org";

#[tokio::test]
async fn unknown_and_wrong_are_one_answer_in_one_time() {
    // So much work that the rest does not matter.
    let world = World::start_with(json!({ "hash_memory_kib": 19_456, "hash_passes": 2, "hash_concurrency": 1 })).await;
    world.sign_up(ANNA).await;
    world.request_otp("ben@example.org").await.unwrap();
    world.verify("ben@example.org", &world.code("ben@example.org").await).await.unwrap();
    world.register("unverified@example.org", PASSWORD).await.unwrap();

    let mut least = [Duration::MAX; 4];
    let mut answers = Vec::new();
    for _ in 0..5 {
        let emails = ["nobody@example.org", ANNA, "ben@example.org", "unverified@example.org"];
        for (email, least) in emails.iter().zip(&mut least) {
            let begin = Instant::now();
            answers.push(refused(world.login(email, "a wrong password").await, Code::Unauthenticated));
            *least = begin.elapsed().min(*least);
        }
    }

    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let (fastest, slowest) = (least.iter().min().unwrap(), least.iter().max().unwrap());
    assert!(*slowest < *fastest * 2, "unknown, wrong, without password, unverified: {least:?}");
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
    let world = world
        .restart_with(json!({ "hash_memory_kib": 65_536, "hash_passes": 4, "hash_concurrency": 1, "hash_queue": 2 }))
        .await;

    let (flood, slowest) =
        tokio::join!(join_all((0..20).map(|_| world.login("nobody@example.org", PASSWORD))), async {
            let mut slowest = Duration::ZERO;
            for _ in 0..20 {
                let begin = Instant::now();
                world.me(&tokens).await;
                slowest = slowest.max(begin.elapsed());
            }
            slowest
        });

    let (limited, served): (Vec<_>, Vec<_>) =
        flood.into_iter().map(Result::unwrap_err).partition(|refusal| refusal.code == Code::RateLimited);
    assert_eq!((limited.len(), served.len()), (17, 3));
    assert!(limited.iter().all(|refusal| refusal.retry_after.is_some()));
    assert!(served.iter().all(|refusal| refusal.code == Code::Unauthenticated));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
