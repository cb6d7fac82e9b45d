//! What a test sees of a conversation: connections, sends, and whether everybody saw the same.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{
    Session, System,
    rest::Rest,
    socketio::{Client, Driver},
};

pub const SOON: Duration = Duration::from_secs(20);

/// Somebody signed in, with a socket at one gateway.
pub struct Person {
    pub session: Session,
    pub rest: Rest,
    pub socket: Client,
}

impl Person {
    pub fn id(&self) -> &str {
        &self.session.user_id
    }

    /// `message:send` with its acknowledgement.
    pub async fn send(&self, chat: &str, client_id: &str, text: &str) -> Value {
        let message = json!({ "chatId": chat, "clientId": client_id, "text": text });
        self.socket.request("message:send", message).await
    }

    /// The same for many at a time.
    pub async fn send_owned(&self, chat: &str, text: String) -> Value {
        self.send(chat, &text, &text).await
    }

    /// The messages this person's socket got so far for a chat, as (seq, text).
    pub fn seen(&self, chat: &str) -> Vec<(u64, String)> {
        let new = self.socket.events_named("message:new");
        let of_chat = new.iter().filter(|args| args[0]["chatId"] == chat);
        of_chat.map(|args| (args[0]["seq"].as_u64().unwrap(), args[0]["text"].as_str().unwrap().to_owned())).collect()
    }

    /// The whole history over REST, as (seq, text).
    pub async fn history(&self, chat: &str) -> Vec<(u64, String)> {
        let mut all = Vec::new();
        let mut after = 0;
        loop {
            let page = self.rest.get(&format!("/api/messages/{chat}?after={after}&limit=200")).await.expect(200);
            for message in page["messages"].as_array().unwrap() {
                after = message["seq"].as_u64().unwrap();
                all.push((after, message["text"].as_str().unwrap().to_owned()));
            }
            if page["hasMore"] == false {
                return all;
            }
        }
    }
}

/// Signs somebody up and connects them to a gateway.
pub async fn person(system: &System, driver: &Driver, name: &str, gateway: usize) -> Person {
    let session = system.sign_up(&format!("{name}@example.org")).await;
    let url = system.gateway(gateway).url();
    let socket = driver.connect(&url, &session.access_token).await.unwrap();
    let rest = Rest::new(url).with_token(&session.access_token);
    Person { session, rest, socket }
}

/// Opens the direct chat of two people; both of their sockets are in it afterwards.
pub async fn direct(one: &Person, other: &Person) -> String {
    let chat = one.rest.post("/api/chats", json!({ "type": "direct", "userId": other.id() })).await;
    assert!([200, 201].contains(&chat.status), "{chat:?}");
    let id = chat.body["id"].as_str().unwrap().to_owned();
    for person in [one, other] {
        person.socket.wait("chat:joined", |args| args[0]["id"] == *id, SOON).await;
    }
    id
}

/// The second arguments of log events are a chain without a gap.
pub fn assert_chain(person: &Person, chat: &str) {
    let events = person.socket.events();
    let metas = events.iter().filter(|event| event.args[0]["chatId"] == chat && event.args.len() == 2);
    let cursors: Vec<(u64, u64)> = metas
        .map(|event| (event.args[1]["cursor"].as_u64().unwrap(), event.args[1]["prev"].as_u64().unwrap()))
        .collect();
    assert!(cursors.windows(2).all(|pair| pair[1].1 == pair[0].0), "a gap in {cursors:?}");
}
