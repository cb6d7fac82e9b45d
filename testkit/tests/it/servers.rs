//! Servers keep what they should over a stop, a kill and a start.

use async_nats::jetstream;
use mongodb::bson::{Document, doc};
use testkit::{Mongo, Nats};

#[tokio::test]
async fn nats_keeps_port_and_streams_over_a_kill() {
    let mut nats = Nats::start().await;
    let chat = jetstream::new(nats.connect("chat").await);
    let stream = jetstream::stream::Config {
        name: "CHAT_0".to_owned(),
        subjects: vec!["chat.log.0.*".to_owned()],
        ..Default::default()
    };
    chat.create_stream(stream.clone()).await.unwrap();
    chat.publish("chat.log.0.a", "hello".into()).await.unwrap().await.unwrap();
    let url = nats.url();

    nats.kill().await;
    nats.start_again().await;

    assert_eq!(nats.url(), url);
    let chat = jetstream::new(nats.connect("chat").await);
    assert_eq!(chat.get_stream("CHAT_0").await.unwrap().cached_info().state.messages, 1);

    nats.wipe_and_start_again().await;
    let chat = jetstream::new(nats.connect("chat").await);
    assert!(chat.get_stream("CHAT_0").await.is_err());
}

#[tokio::test]
async fn nats_forms_a_cluster_under_the_same_file() {
    let mut nodes = Nats::cluster(3).await;
    let chat = jetstream::new(nodes[0].connect("chat").await);
    let stream = jetstream::stream::Config {
        name: "CHAT_0".to_owned(),
        subjects: vec!["chat.log.0.*".to_owned()],
        num_replicas: 3,
        ..Default::default()
    };
    chat.create_stream(stream).await.unwrap();
    // That a stream exists can be known at a node before it is known there who listens to its subjects.
    testkit::eventually("the stream to be heard of", std::time::Duration::from_secs(20), async || {
        chat.publish("chat.log.0.a", "hello".into()).await.unwrap().await.ok()
    })
    .await;

    nodes.remove(0).kill().await;

    let chat = jetstream::new(nodes[0].connect("chat").await);
    let messages = testkit::eventually("the stream to have a leader", std::time::Duration::from_secs(20), async || {
        Some(chat.get_stream("CHAT_0").await.ok()?.cached_info().state.messages)
    })
    .await;
    assert_eq!(messages, 1);
}

#[tokio::test]
async fn mongo_keeps_what_it_has_acknowledged_over_a_kill() {
    let mongo = Mongo::start().await;
    if !mongo.can_stop() {
        return;
    }
    let messages = mongo.connect().await.collection::<Document>("messages");
    for seq in 0..100 {
        messages.insert_one(doc! { "seq": seq }).await.unwrap();
    }

    mongo.kill().await;
    mongo.start_again().await;

    assert_eq!(messages.count_documents(doc! {}).await.unwrap(), 100);
}

#[tokio::test]
async fn shared_mongo_gives_each_test_its_database() {
    let (one, other) = tokio::join!(Mongo::shared(), Mongo::shared());
    one.connect().await.collection("users").insert_one(doc! { "name": "Anna" }).await.unwrap();
    assert_eq!(one.uri(), other.uri());
    assert_eq!(other.connect().await.collection::<Document>("users").count_documents(doc! {}).await.unwrap(), 0);
}
