//! NATS, MongoDB, instances of `chat`, and people who call it as a gateway would.

use std::time::Duration;

use async_nats::Client;
use chat::{Chat, Config};
use contract::{
    Actor, ChatId, Refusal, Request, SessionId, UserId, chat as call,
    event::{Message, Seq},
    text::{ClientId, MessageText, Name},
    user::{Known, KnownUsers, Role},
};
use futures::StreamExt;
use service::Caller;
use testkit::{Mongo, Nats};
use tokio::task::JoinHandle;

pub const SOON: Duration = Duration::from_secs(20);

pub struct World {
    pub nats: Nats,
    pub mongo: Mongo,
    log_events: u32,
    caller: Caller,
    gateway: Client,
}

/// A running instance; stops when dropped.
pub struct Instance {
    task: JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl World {
    /// Servers, and somebody who answers for `user` that everybody exists.
    pub async fn start() -> Self {
        Self::with(Mongo::shared().await, 10_000).await
    }

    pub async fn with(mongo: Mongo, log_events: u32) -> Self {
        let nats = Nats::start().await;
        everybody_exists(&nats).await;
        let gateway = nats.connect("gateway").await;
        Self { nats, mongo, log_events, caller: Caller::new(gateway.clone()), gateway }
    }

    pub fn config(&self) -> Config {
        let mut config: Config = service::config::load(
            "chat",
            &format!(
                "{}\n[nats]\nurl = {:?}\npassword = {:?}\n",
                include_str!("../../config.default.toml"),
                self.nats.url(),
                self.nats.password("chat")
            ),
        )
        .unwrap();
        self.mongo.uri().clone_into(&mut config.mongo.uri);
        self.mongo.database().clone_into(&mut config.mongo.database);
        config.chat.log_events = self.log_events;
        config
    }

    /// One more instance.
    pub async fn chat(&self) -> Instance {
        let chat = Chat::start(self.config()).await.unwrap();
        Instance { task: tokio::spawn(async move { chat.run_until_stopped().await.unwrap() }) }
    }

    pub async fn call<R: Request>(&self, request: R) -> Result<R::Reply, Refusal> {
        self.caller.call(&request).await
    }

    pub fn gateway(&self) -> &Client {
        &self.gateway
    }

    pub async fn direct(&self, one: UserId, other: UserId) -> call::CreatedChat {
        let chat = call::NewChat::Direct { user_id: other };
        self.call(call::CreateChat { actor: actor(one), chat }).await.unwrap()
    }

    pub async fn group(&self, owner: UserId, members: &[UserId]) -> call::Chat {
        let chat = call::NewChat::Group { name: Name::new("Group").unwrap(), member_ids: members.to_vec() };
        self.call(call::CreateChat { actor: actor(owner), chat }).await.unwrap().chat
    }

    pub async fn send(&self, chat: ChatId, sender: UserId, text: &str) -> Message {
        self.try_send(chat, sender, text).await.unwrap()
    }

    pub async fn try_send(&self, chat: ChatId, sender: UserId, text: &str) -> Result<Message, Refusal> {
        let message = new_message(chat, &text.replace(' ', "-"), text);
        let sent = self.call(call::SendMessage { actor: actor(sender), message }).await?;
        Ok(serde_json::from_str(sent.message.get()).unwrap())
    }

    /// The whole history, page by page from the newest to the oldest.
    pub async fn history(&self, chat: ChatId, reader: UserId) -> Result<Vec<Message>, Refusal> {
        let mut all = Vec::new();
        let mut before: Option<Seq> = None;
        loop {
            let page = self
                .call(call::GetHistory { actor: actor(reader), chat_id: chat, before, after: None, limit: 50 })
                .await?;
            before = page.messages.first().map(|message| message.seq);
            all.splice(0..0, page.messages);
            if !page.has_more {
                return Ok(all);
            }
        }
    }

    /// The archive as documents of one collection, by `_id`.
    pub async fn archived(&self, collection: &str) -> std::collections::BTreeMap<String, bson::Document> {
        let database = self.mongo.connect().await;
        let mut found = database.collection::<bson::Document>(collection).find(bson::doc! {}).await.unwrap();
        let mut documents = std::collections::BTreeMap::new();
        while let Some(document) = found.next().await {
            let document = document.unwrap();
            documents.insert(document.get_str("_id").unwrap().to_owned(), document);
        }
        documents
    }
}

async fn everybody_exists(nats: &Nats) {
    let client = nats.connect("user").await;
    let mut asked = client.subscribe(KnownUsers::SUBJECT).await.unwrap();
    client.flush().await.unwrap();
    tokio::spawn(async move {
        while let Some(message) = asked.next().await {
            let request: KnownUsers = serde_json::from_slice(&message.payload).unwrap();
            let reply = serde_json::to_vec(&Known { user_ids: request.user_ids }).unwrap();
            client.publish(message.reply.unwrap(), reply.into()).await.unwrap();
        }
    });
}

pub fn actor(user_id: UserId) -> Actor {
    Actor { user_id, session_id: SessionId::new(), role: Role::User }
}

pub fn new_message(chat_id: ChatId, client_id: &str, text: &str) -> call::NewMessage {
    call::NewMessage {
        chat_id,
        client_id: ClientId::new(client_id).unwrap(),
        text: MessageText::new(text).unwrap(),
        reply_to: None,
        attachments: Vec::new(),
        mentions: Vec::new(),
    }
}

pub fn people<const N: usize>() -> [UserId; N] {
    std::array::from_fn(|_| UserId::new())
}
