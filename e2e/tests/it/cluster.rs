//! Three nodes of NATS, of which one is cut off: its clients stay connected and hear nothing.

use std::time::Duration;

use serde_json::json;
use testkit::{System, SystemOptions, eventually, proxy::Traffic, socketio::Driver, until};
use tokio::time::{Instant, sleep_until};

use crate::sight::{Person, person};

/// Leaders are elected anew within some ten seconds.
const ELECTED: Duration = Duration::from_secs(20);
/// So much later it is seen, on a machine that has much to do.
const SEEN: Duration = Duration::from_mins(1);
/// A node that is cut off is left after ten seconds, and perhaps for another one that is; then what was asked has to time out.
const MOVED: Duration = Duration::from_mins(2);
/// A cut that is shorter may not be noticed: a gateway looks once a second.
const CUT: Duration = Duration::from_secs(4);

#[tokio::test]
async fn what_was_said_while_a_node_was_cut_off_is_found_without_a_further_event() {
    let options = SystemOptions { gateways: 2, chats: 2, nodes: 3, ..SystemOptions::default() };
    let system = System::start(options).await;
    let driver = Driver::start().await;
    let people = [person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 1).await];
    let mut chats = Vec::new();
    for node in 0..3 {
        chats.push(group(&people, &format!("{node}")).await);
    }
    let mut found = 0;
    for (node, chat) in chats.iter().enumerate() {
        let network = system.network.as_ref().unwrap();
        let healed = Instant::now() + CUT;
        network.set(node, Traffic::Cut);
        // By whoever can: one of them may be cut off as well.
        let mut tries = 0;
        let sent = until("it is sent", ELECTED, async || {
            tries += 1;
            let sender = &people[tries % 2];
            let message = json!({ "chatId": chat, "clientId": "one", "text": "while a node is cut off" });
            let answer = sender.rest.post("/api/messages", message).await;
            answer.body["seq"].as_u64().filter(|_| [200, 201].contains(&answer.status))
        });
        let sent = sent.await;
        sleep_until(healed).await;
        network.set(node, Traffic::Flows);
        // All of a service may be where nobody can append.
        let Ok(seq) = sent else { continue };
        found += 1;
        for person in &people {
            let seen = async || person.seen(chat).iter().any(|(number, _)| *number == seq).then_some(());
            eventually("it is seen", SEEN, seen).await;
        }
    }
    assert!(found > 0, "none of three nodes could be cut off without stopping everything");
}

#[tokio::test]
async fn services_leave_a_node_that_is_cut_off() {
    let system = System::start(SystemOptions { nodes: 3, ..SystemOptions::default() }).await;
    let driver = Driver::start().await;
    let people = [person(&system, &driver, "anna", 0).await, person(&system, &driver, "ben", 0).await];
    let chat = group(&people, "moving").await;
    let network = system.network.as_ref().unwrap();
    for service in ["gateway", "chat"] {
        let node = node_of(&system, service).await;
        network.set(node, Traffic::Cut);
        let sent = until("a message is sent though its node is cut off", MOVED, async || {
            let message = json!({ "chatId": chat, "clientId": service, "text": "from another node" });
            let answer = people[0].rest.post("/api/messages", message).await;
            answer.body["seq"].as_u64().filter(|_| [200, 201].contains(&answer.status))
        });
        let seq = sent.await.unwrap();
        let seen = async || people[1].seen(&chat).iter().any(|(number, _)| *number == seq).then_some(());
        eventually("it is seen", SEEN, seen).await;
        assert_ne!(node_of(&system, service).await, node, "{service} is where it was");
        network.set(node, Traffic::Flows);
        for node in system.nodes() {
            node.wait_until_healthy().await;
        }
    }
}

/// A group of both; their sockets are in it afterwards, so that they hear what is said.
async fn group(people: &[Person; 2], name: &str) -> String {
    let group = json!({ "type": "group", "name": name, "memberIds": [people[1].id()] });
    let chat = people[0].rest.post("/api/chats", group).await.expect(201)["id"].as_str().unwrap().to_owned();
    for person in people {
        person.socket.wait("chat:joined", |args| args[0]["id"] == *chat, SEEN).await;
    }
    chat
}

/// At which node of NATS this service is.
async fn node_of(system: &System, service: &str) -> usize {
    eventually("a service is connected", SEEN, async || {
        for (index, node) in system.nodes().enumerate() {
            if node.has_client(service).await {
                return Some(index);
            }
        }
        None
    })
    .await
}
