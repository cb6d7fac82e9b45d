//! A subscription that is too slow loses messages: those who care hear of it.

use async_nats::jetstream;
use service::Service;
use testkit::{Nats, eventually};

use crate::world::{SOON, config, service};

/// More than a subscription may be behind.
const FLOOD: usize = 20_000;

#[tokio::test]
async fn who_is_too_slow_hears_that_something_was_missed() {
    let nats = Nats::start().await;
    let (chat, gateway) = (service(&nats, "chat").await, service(&nats, "gateway").await);
    let (mut gaps, mut connections) = (chat.nats().gaps(), chat.nats().connections());
    eventually("a connection", SOON, async || (*connections.borrow() > 0).then_some(())).await;
    let mut unread = chat.nats().client().subscribe("call.chat.unread").await.unwrap();
    chat.nats().settle().await.unwrap();
    gaps.borrow_and_update();
    connections.borrow_and_update();

    for _ in 0..FLOOD {
        gateway.nats().client().publish("call.chat.unread", "x".into()).await.unwrap();
    }
    tokio::time::timeout(SOON, gaps.changed()).await.expect("a gap").unwrap();
    assert!(*gaps.borrow() < 10, "it is said once in a while, not for each message");
    assert!(!connections.has_changed().unwrap(), "the connection lives on");
    // What comes after it is heard.
    unread.unsubscribe().await.unwrap();
    let mut heard = chat.nats().client().subscribe("call.chat.heard").await.unwrap();
    chat.nats().settle().await.unwrap();
    gateway.nats().client().publish("call.chat.heard", "y".into()).await.unwrap();
    let message = tokio::time::timeout(SOON, futures::StreamExt::next(&mut heard)).await.unwrap().unwrap();
    assert_eq!(&*message.payload, b"y");
}

#[tokio::test]
async fn who_may_have_missed_what_another_leader_said_hears_of_it() {
    let nodes = Nats::cluster(3).await;
    let at = async |node: usize, user: &'static str| {
        let mut config = config(&nodes[node], user);
        config.nats.replicas = 3;
        Service::start(user, &config).await.unwrap()
    };
    let owners = [at(0, "chat").await, at(1, "chat").await, at(2, "chat").await];
    let wanted = jetstream::stream::Config {
        name: "CHAT_0".to_owned(),
        subjects: vec!["chat.log.0.*".to_owned()],
        num_replicas: 3,
        ..Default::default()
    };
    let made = async || owners[0].nats().jetstream().create_stream(&wanted).await.ok();
    eventually("a stream", SOON, made).await;
    let leader = async |asked: &Service| {
        let stream = asked.nats().jetstream().get_stream("CHAT_0").await.ok()?;
        let name = stream.cached_info().cluster.as_ref()?.leader.clone()?;
        nodes.iter().position(|node| node.name() == name)
    };
    let first = eventually("a leader", SOON, async || leader(&owners[0]).await).await;
    let other = (first + 1) % 3;
    let gateway = at(other, "gateway").await;
    let (mut gaps, connections) = (gateway.nats().gaps(), gateway.nats().connections());
    eventually("a connection", SOON, async || (*connections.borrow() > 0).then_some(())).await;
    gaps.borrow_and_update();
    gateway.nats().follow_leaders(["CHAT_0"], gateway.lifecycle());

    nodes[first].pause();
    tokio::time::timeout(SOON * 2, gaps.changed()).await.expect("a gap").unwrap();
    nodes[first].resume();
}

#[tokio::test]
async fn where_there_are_copies_one_looks_twice_since_one_may_be_behind() {
    let nats = Nats::start().await;
    let mut config = config(&nats, "gateway");
    config.nats.replicas = 3;
    let gateway = Service::start("gateway", &config).await.unwrap();
    let (mut gaps, connections) = (gateway.nats().gaps(), gateway.nats().connections());
    eventually("a connection", SOON, async || (*connections.borrow() > 0).then_some(())).await;
    assert_eq!(*gaps.borrow_and_update(), 1, "the connection itself");
    tokio::time::timeout(SOON * 2, gaps.changed()).await.expect("a second look").unwrap();
    assert_eq!(*connections.borrow(), 1, "though NATS was never away");
}
