//! Staying signed in, and ending that.

use contract::{
    Code, SessionId,
    text::Device,
    user::{Client, GetJwks, Login, LoginBody, Logout, RevokeSession, Role},
};
use futures::future::join_all;
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use testkit::secrets;

use crate::world::{PASSWORD, World, address, refused};

const ANNA: &str = "anna@example.org";

#[tokio::test]
async fn an_access_token_says_who_and_until_when() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;

    let claims = world.claims(&tokens.access_token).await.unwrap();

    assert_eq!((claims.sub, claims.role), (tokens.user.user.id, Role::User));
    assert_eq!((claims.iss.as_str(), claims.aud.as_str()), ("natter", "natter"));
    assert_eq!(claims.exp - claims.iat, 900);
    assert_eq!(world.sessions(&tokens).await[0].id, claims.sid);
}

#[tokio::test]
async fn refreshing_gives_the_next_token_and_a_dead_one_ends_the_session() {
    let world = World::start().await;
    let first = world.sign_up(ANNA).await;
    let session = world.actor(&first).await.session_id;

    let second = world.refresh(&first.refresh_token).await.unwrap();
    let third = world.refresh(&second.refresh_token).await.unwrap();
    assert_eq!(world.actor(&third).await.session_id, session);
    assert_eq!(third.user, first.user);
    assert!(world.revoked_entry(session).await.is_none());

    refused(world.refresh(&first.refresh_token).await, Code::Unauthenticated);

    refused(world.refresh(&third.refresh_token).await, Code::Unauthenticated);
    let revoked = world.revoked_entry(session).await.expect("gateways hear of it");
    assert_eq!(revoked.headers.get("Nats-TTL").unwrap().as_str(), "960");
    assert!(world.sessions(&third).await.is_empty());
}

#[tokio::test]
async fn a_forged_token_is_refused_and_ends_nothing() {
    let world = World::start().await;
    let first = world.sign_up(ANNA).await;
    let second = world.refresh(&first.refresh_token).await.unwrap();
    let session = world.actor(&first).await.session_id;
    let mac = first.refresh_token.rsplit_once('.').unwrap().1;
    let other = world.sign_up("ben@example.org").await.refresh_token;

    for forged in [
        format!("{session}.1.{}", "A".repeat(43)),
        format!("{session}.2.{mac}"),
        format!("{session}.3.{mac}"),
        format!("{session}.1.{}", other.rsplit_once('.').unwrap().1),
        format!("{session}.1"),
        String::new(),
        "x".repeat(4_096),
    ] {
        refused(world.refresh(&forged).await, Code::Unauthenticated);
    }

    world.refresh(&second.refresh_token).await.expect("the session lives");
    assert!(world.revoked_entry(session).await.is_none());
}

#[tokio::test]
async fn of_refreshes_at_once_one_succeeds() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;

    let refreshed = join_all((0..10).map(|_| world.refresh(&tokens.refresh_token))).await;

    let (won, lost): (Vec<_>, Vec<_>) = refreshed.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for lost in lost {
        refused(lost, Code::Unauthenticated);
    }
    // To the service the others are thieves.
    for won in won {
        refused(world.refresh(&won.unwrap().refresh_token).await, Code::Unauthenticated);
    }
}

#[tokio::test]
async fn signing_out_ends_the_session_that_asks() {
    let world = World::start().await;
    let phone = world.sign_up(ANNA).await;
    let laptop = world.login(ANNA, PASSWORD).await.unwrap();
    let actor = world.actor(&phone).await;

    world.call(&Logout { actor }).await.unwrap();

    assert!(world.revoked_entry(actor.session_id).await.is_some());
    refused(world.refresh(&phone.refresh_token).await, Code::Unauthenticated);
    world.call(&Logout { actor }).await.expect("twice is once");
    assert_eq!(world.sessions(&laptop).await.len(), 1);
    world.refresh(&laptop.refresh_token).await.unwrap();
}

#[tokio::test]
async fn one_sees_and_ends_ones_own_sessions_only() {
    let world = World::start().await;
    let laptop = world.sign_up(ANNA).await;
    let client = Client { ip: Some("192.0.2.7".to_owned()), user_agent: Some("curl/8.5.0".to_owned()) };
    let device = Some(Device::new("Anna's phone").unwrap());
    let sign_in = |device| {
        let body = LoginBody { email: address(ANNA), password: contract::text::Secret::new(PASSWORD), device };
        Login { body, client: client.clone() }
    };
    let phone = world.call(&sign_in(device)).await.unwrap();
    let script = world.call(&sign_in(None)).await.unwrap();
    let other = world.sign_up("ben@example.org").await;

    let sessions = world.sessions(&phone).await;
    let seen: Vec<_> =
        sessions.iter().map(|session| (session.device.as_deref(), session.ip.as_deref(), session.current)).collect();
    let ip = Some("192.0.2.7");
    assert_eq!(seen, [(Some("curl"), ip, false), (Some("Anna's phone"), ip, true), (None, None, false)]);
    world.refresh(&laptop.refresh_token).await.unwrap();
    assert_eq!(world.sessions(&phone).await[0].id, world.actor(&laptop).await.session_id, "last used first");

    let (anna, ben) = (world.actor(&phone).await, world.actor(&other).await);
    let scripts = world.actor(&script).await.session_id;
    for foreign in [scripts, SessionId::new()] {
        refused(world.call(&RevokeSession { actor: ben, session_id: foreign }).await, Code::NotFound);
    }
    world.refresh(&script.refresh_token).await.expect("it lives");

    world.call(&RevokeSession { actor: anna, session_id: scripts }).await.unwrap();

    assert!(world.revoked_entry(scripts).await.is_some());
    assert_eq!(world.sessions(&phone).await.len(), 2);
    refused(world.call(&RevokeSession { actor: anna, session_id: scripts }).await, Code::NotFound);
}

/// As a process leaves it that dies between the steps of a revocation.
#[tokio::test]
async fn a_session_half_ended_cannot_be_refreshed_is_listed_and_can_be_ended_again() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;
    let actor = world.actor(&tokens).await;
    let sessions = world.mongo.connect().await.collection::<Document>("sessions");
    let revoked = doc! { "$set": { "revokedAt": DateTime::now() } };
    sessions.update_one(doc! { "_id": actor.session_id.to_string() }, revoked).await.unwrap();

    refused(world.refresh(&tokens.refresh_token).await, Code::Unauthenticated);
    assert_eq!(world.sessions(&tokens).await.len(), 1);
    world.call(&RevokeSession { actor, session_id: actor.session_id }).await.unwrap();

    assert!(world.revoked_entry(actor.session_id).await.is_some());
    assert!(world.sessions(&tokens).await.is_empty());
}

#[tokio::test]
async fn an_expired_session_is_over_before_mongodb_removes_it() {
    let world = World::start().await;
    let tokens = world.sign_up(ANNA).await;
    let sessions = world.mongo.connect().await.collection::<Document>("sessions");
    // Seconds ago: the server's own clean-up runs once a minute.
    let expired = doc! { "$set": { "expiresAt": DateTime::from_millis(DateTime::now().timestamp_millis() - 2_000) } };
    sessions.update_many(doc! {}, expired).await.unwrap();

    refused(world.refresh(&tokens.refresh_token).await, Code::Unauthenticated);
    assert!(world.sessions(&tokens).await.is_empty());
}

#[tokio::test]
async fn the_signing_key_can_be_changed_without_signing_anybody_out() {
    let world = World::start().await;
    let before = world.sign_up(ANNA).await;
    let old_key = world.auth["signing_key"].clone();

    let world = world.restart_with(json!({ "signing_key": secrets::signing_key(), "previous_keys": old_key })).await;

    let keys = world.call(&GetJwks {}).await.unwrap().keys;
    assert_eq!(keys.len(), 2);
    let old = world.actor(&before).await;
    let after = world.refresh(&before.refresh_token).await.unwrap();
    assert_eq!(world.actor(&after).await, old);
    let kid = |token: &str| jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    assert_eq!((kid(&after.access_token), kid(&before.access_token)), (keys[0].kid.clone(), keys[1].kid.clone()));
    assert!(
        keys.iter().all(|key| key.kty == "OKP" && key.crv == "Ed25519" && key.alg == "EdDSA" && key.usage == "sig")
    );
}
