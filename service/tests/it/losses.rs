//! A subscription that is too slow loses messages: those who care hear of it.

use testkit::{Nats, eventually};

use crate::world::{SOON, service};

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
