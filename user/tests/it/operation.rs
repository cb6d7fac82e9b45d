//! What an operator meets: secrets that are missing, a database that is away, a process that is stopped.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use contract::{Code, user::GetMe};
use mongodb::bson::doc;
use serde_json::json;
use service::Caller;
use testkit::{
    Mongo, Nats, eventually,
    process::{Output, Process},
    scratch, secrets,
};

use crate::world::{PASSWORD, SOON, World, address, name, new_password, refused};

const ANNA: &str = "anna@example.org";

fn user() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_user"));
    command.env_clear();
    command
}

#[test]
fn a_secret_that_is_missing_or_wrong_is_named_and_nothing_starts() {
    let complete = [
        ("NATTER_NATS__PASSWORD", secrets::password()),
        ("NATTER_AUTH__SIGNING_KEY", secrets::signing_key()),
        ("NATTER_AUTH__PEPPER", secrets::pepper()),
    ];
    let cases = complete.iter().flat_map(|(key, _)| [(key, None), (key, Some("too-short"))]);
    // Whether the password is right, NATS knows.
    for (missing, value) in cases.filter(|case| *case != (&"NATTER_NATS__PASSWORD", Some("too-short"))) {
        let mut command = user();
        command.envs(complete.iter().filter(|(key, _)| key != missing).cloned());
        command.envs(value.map(|value| (missing, value)));
        let ended = command.output().unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(missing), "{said}");
        assert!(complete.iter().all(|(_, secret)| !said.contains(secret)) && !said.contains("too-short"), "{said}");
    }
}

#[tokio::test]
async fn a_process_with_nothing_but_secrets_serves_says_nothing_private_and_stops() {
    let (nats, mongo) = (Nats::start().await, Mongo::shared().await);
    let folder = scratch::Folder::new("user").unwrap();
    let mut command = user();
    command
        .envs(nats.env("user"))
        .envs(mongo.env())
        .env("NATTER_AUTH__SIGNING_KEY", secrets::signing_key())
        .env("NATTER_AUTH__PREVIOUS_KEYS", format!("{},{}", secrets::signing_key(), secrets::signing_key()))
        .env("NATTER_AUTH__PEPPER", secrets::pepper())
        .env("NATTER_LOG__LEVEL", "info,user=debug,service=debug");
    let process = Process::spawn("user", command, Output::File(folder.path().join("log"))).unwrap();
    let caller = Caller::new(nats.connect("gateway").await);
    let keys = eventually("the service to answer", Duration::from_secs(30), async || {
        caller.call(&contract::user::GetJwks {}).await.ok()
    })
    .await
    .keys;
    assert_eq!(keys.len(), 3);

    // No queue of letters: also what fails says nothing private.
    let register =
        contract::user::Register { email: address(ANNA), password: new_password(PASSWORD), name: name("Anna") };
    let refusal = eventually("the database", SOON, async || {
        let refusal = caller.call(&register).await.unwrap_err();
        process.output().contains("the queue of letters").then_some(refusal)
    })
    .await;
    assert_eq!(refusal.code, Code::Unavailable);

    let status = process.stop(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
    let log = process.output();
    assert!(log.contains("user is ready to serve"), "{log}");
    for private in ["anna", PASSWORD, "argon2"] {
        assert!(!log.contains(private), "{log}");
    }
}

#[tokio::test]
async fn while_mongodb_is_away_what_needs_it_says_so_at_once_and_no_code_is_spent() {
    let world = World::start_on(Nats::start().await, Mongo::start().await, json!({})).await;
    if !world.mongo.can_stop() {
        return;
    }
    world.create_mail_stream().await;
    let tokens = world.sign_up(ANNA).await;
    let actor = world.actor(&tokens).await;
    world.request_otp("ben@example.org").await.unwrap();
    let code = world.code("ben@example.org").await;

    world.mongo.stop().await;
    eventually("the loss to be noticed", SOON, async || {
        let begin = Instant::now();
        refused(world.call(&GetMe { actor }).await, Code::Unavailable);
        (begin.elapsed() < Duration::from_millis(100)).then_some(())
    })
    .await;
    let begin = Instant::now();
    refused(world.call(&GetMe { actor }).await, Code::Unavailable);
    refused(world.login(ANNA, PASSWORD).await, Code::Unavailable);
    refused(world.register("carl@example.org", PASSWORD).await, Code::Unavailable);
    refused(world.refresh(&tokens.refresh_token).await, Code::Unavailable);
    refused(world.verify("ben@example.org", &code).await, Code::Unavailable);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    world.request_otp("dora@example.org").await.expect("needs no database");

    world.mongo.start_again().await;
    world.wait_until_ready().await;
    world.verify("ben@example.org", &code).await.unwrap();
    world.refresh(&tokens.refresh_token).await.unwrap();
    world.login(ANNA, PASSWORD).await.unwrap();
}

#[tokio::test]
async fn what_was_there_is_there_after_a_restart() {
    let world = World::start().await;
    world.register(ANNA, PASSWORD).await.unwrap();
    let code = world.code(ANNA).await;

    let world = world.restart_with(json!({})).await;

    let tokens = world.verify(ANNA, &code).await.unwrap();
    let world = world.restart_with(json!({})).await;
    world.refresh(&tokens.refresh_token).await.unwrap();
    assert_eq!(world.documents("users", doc! {}).await.len(), 1);
}
