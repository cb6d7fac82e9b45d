//! Our client beside the official one, at the same server.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::socketio::Driver;
use tokio::{
    net::TcpListener,
    sync::mpsc::unbounded_channel,
    time::{Instant, timeout},
};

use super::{Packet, engine::connect, event};
use crate::limit::server;

const DEADLINE: Duration = Duration::from_secs(20);
const MESSAGES: usize = 20;

/// An event or an acknowledgement as a client understands it.
#[derive(Debug, PartialEq)]
enum Seen {
    Event(String, Vec<Value>),
    Ack(u64, Vec<Value>),
}

fn seen(packet: &Packet<'_>) -> Option<Seen> {
    let list = |args: &str| serde_json::from_str(&format!("[{args}")).unwrap();
    match packet {
        Packet::Event { name, args } => Some(Seen::Event((*name).to_owned(), list(args))),
        Packet::Ack { id, args } => Some(Seen::Ack(*id, list(args))),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_client_sees_what_the_official_one_sees() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (layer, io) = server::build();
    server::broadcast_on(&io);
    tokio::spawn(server::answer(listener, layer));
    let official = Driver::start().await.connect(&url, "one other").await.unwrap();
    let (passed_on, mut packets) = unbounded_channel();
    let incoming = move |packet: Packet<'_>, _| {
        if let Some(seen) = seen(&packet) {
            passed_on.send(seen).unwrap();
        }
        Ok(())
    };
    let (ours, _connection) = connect(&url, "one other", incoming).await.unwrap();

    // In turn one of them sends, with what JSON has to escape and what it has not.
    let mut events = Vec::new();
    for number in 0..MESSAGES {
        let room = if number % 3 == 0 { "one" } else { "other" };
        let text = format!("{number}: \"\\ \n \u{1F44D} \u{e4}");
        let message = json!({ "chatId": room, "clientId": number.to_string(), "text": text });
        let mut ack = None;
        if number % 2 == 0 {
            ack = Some(official.request("message:send", message).await);
        } else {
            ours.send(event(number as u64, "message:send", &message).unwrap()).unwrap();
        }
        let mut arrived = None;
        let end = Instant::now() + DEADLINE;
        while ack.is_none() || arrived.is_none() {
            match timeout(end - Instant::now(), packets.recv()).await.unwrap().unwrap() {
                Seen::Ack(id, mut args) => {
                    assert_eq!((id, args.len()), (number as u64, 1));
                    ack = args.pop();
                }
                Seen::Event(name, args) => {
                    assert_eq!((name.as_str(), &args[0]["text"]), ("message:new", &json!(text)));
                    arrived = Some(args);
                }
            }
        }
        let (ack, arrived) = (ack.unwrap(), arrived.unwrap());
        // Both are told the same as who has sent it.
        assert_eq!((&ack["ok"], &ack["message"]), (&json!(true), &arrived[0]));
        events.push(arrived);
    }
    let last = events.last().unwrap();
    official.wait("message:new", |args| args == last.as_slice(), DEADLINE).await;
    assert_eq!(official.events_named("message:new"), events);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_to_both() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    assert!(Driver::start().await.connect(&url, "t").await.is_err());
    assert!(connect(&url, "t", |_, _| Ok(())).await.is_err());
}
