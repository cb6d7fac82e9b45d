//! What surrounds a gateway: NATS under the project's `nats.conf`, the streams and buckets that others own, and services
//! that answer as a test wants.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_nats::{
    HeaderMap,
    jetstream::{self, stream::Republish},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use contract::{
    Actor, ChatId, Code, Refusal, SessionId, Time, UserId,
    chat::MemberEntry,
    event::Cursor,
    headers, room,
    storage::{self, CHAT_STREAMS, MEMBERS_BUCKET, REVOKED_BUCKET},
    user::{Claims, Role, TOKEN_AUDIENCE, TOKEN_ISSUER},
};
use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use futures::StreamExt;
use gateway::{Config, Gateway, HttpConfig, LimitsConfig, SocketConfig};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use service::{
    Bucket, Lifecycle, Nats, Readiness,
    config::{AdminConfig, Common, LogConfig, LogFormat, NatsConfig, RateConfig},
    next_events,
};
use testkit::{
    rest::Rest,
    socketio::{Client, Driver},
};
use tokio::sync::watch;

pub const SOON: Duration = Duration::from_secs(10);
const KID: &str = "test";

/// Answers a call's body.
type Answer = Arc<dyn Fn(Value) -> Result<Value, Refusal> + Send + Sync>;

pub struct World {
    pub nats: testkit::Nats,
    pub chat: Nats,
    pub user: Nats,
    pub driver: Driver,
    pub members: Arc<Mutex<HashMap<UserId, BTreeSet<ChatId>>>>,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    /// Subjects of the calls that were left without an answer.
    unanswered: watch::Sender<Vec<String>>,
    key: SigningKey,
}

/// A gateway within the test.
pub struct Running {
    pub url: String,
    pub admin: String,
    pub lifecycle: Lifecycle,
    pub readiness: Readiness,
    pub ended: tokio::task::JoinHandle<Result<(), service::StopError>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.lifecycle.stop();
    }
}

#[derive(Clone, Copy)]
pub struct Person {
    pub id: UserId,
    pub session: SessionId,
}

impl Person {
    pub fn new() -> Self {
        Self { id: UserId::new(), session: SessionId::new() }
    }
}

impl World {
    pub async fn start() -> Self {
        let nats = testkit::Nats::start().await;
        let (chat, user) = (connect(&nats, "chat").await, connect(&nats, "user").await);
        Bucket::durable(REVOKED_BUCKET, "").with_ttl(Duration::from_mins(1)).ensure(&user).await.unwrap();
        let members = Bucket::durable(MEMBERS_BUCKET, "").republished("*.*", room::MEMBER_REPUBLISH);
        members.ensure(&chat).await.unwrap();
        let world = Self {
            nats,
            chat,
            user,
            driver: Driver::start().await,
            members: Arc::default(),
            answers: Arc::default(),
            unanswered: watch::Sender::default(),
            key: SigningKey::from_bytes(&[7; 32]),
        };
        world.republish(true).await;
        world.serve(&world.user, "call.user.>").await;
        world.serve(&world.chat, "call.chat.>").await;
        let mail = connect(&world.nats, "mail").await;
        world.serve(&mail, "call.mail.>").await;
        world.answer_by_default();
        world
    }

    /// Whether the chats' log is republished.
    pub async fn republish(&self, on: bool) {
        for (partition, name) in CHAT_STREAMS.iter().enumerate() {
            let subjects = storage::log_subjects(partition);
            let config = jetstream::stream::Config {
                name: (*name).to_owned(),
                subjects: vec![subjects.clone()],
                allow_direct: true,
                republish: on.then(|| Republish {
                    source: subjects,
                    destination: room::LOG_REPUBLISH.into(),
                    headers_only: false,
                }),
                ..Default::default()
            };
            let stream = self.chat.jetstream().create_or_update_stream(config).await.unwrap();
            assert_eq!(stream.config.republish.is_some(), on);
        }
    }

    async fn serve(&self, nats: &Nats, subjects: &'static str) {
        let mut calls = nats.client().subscribe(subjects).await.unwrap();
        nats.client().flush().await.unwrap();
        let (answers, unanswered, nats) = (self.answers.clone(), self.unanswered.clone(), nats.clone());
        tokio::spawn(async move {
            while let Some(call) = calls.next().await {
                let (answers, unanswered, nats) = (answers.clone(), unanswered.clone(), nats.clone());
                tokio::spawn(async move {
                    let body: Value = serde_json::from_slice(&call.payload).unwrap();
                    let answer = answers.lock().unwrap().get(call.subject.as_str()).cloned();
                    let outcome = match answer {
                        Some(answer) => answer(body),
                        None if call.subject.as_str() == "call.chat.read_log" => Ok(read_log(&nats, &body).await),
                        None => return unanswered.send_modify(|calls| calls.push(call.subject.to_string())),
                    };
                    let Some(reply) = call.reply else { return };
                    match outcome {
                        Ok(body) => nats.client().publish(reply, body.to_string().into()).await.unwrap(),
                        Err(refusal) => {
                            let mut headers = HeaderMap::new();
                            headers.insert("Nats-Service-Error-Code", refusal.code.status().to_string());
                            headers.insert("Nats-Service-Error", refusal.to_string());
                            headers.insert(headers::REFUSAL, serde_json::to_string(&refusal).unwrap());
                            nats.client().publish_with_headers(reply, headers, "".into()).await.unwrap();
                        }
                    }
                });
            }
        });
    }

    /// From now on this call is answered like this.
    pub fn answer(&self, subject: &str, answer: impl Fn(Value) -> Result<Value, Refusal> + Send + Sync + 'static) {
        self.answers.lock().unwrap().insert(subject.to_owned(), Arc::new(answer));
    }

    /// From now on this call is not answered at all.
    pub fn silence(&self, subject: &str) {
        self.answers.lock().unwrap().remove(subject);
    }

    /// Waits until such a call has been left without an answer.
    pub async fn left_unanswered(&self, subject: &str) {
        let mut unanswered = self.unanswered.subscribe();
        let left = unanswered.wait_for(|calls| calls.iter().any(|call| call == subject));
        tokio::time::timeout(SOON, left).await.expect("a call").unwrap();
    }

    pub fn answer_by_default(&self) {
        let x = BASE64_URL_SAFE_NO_PAD.encode(self.key.verifying_key().as_bytes());
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": KID, "alg": "EdDSA", "use": "sig" });
        self.answer("call.user.jwks", move |_| Ok(json!({ "keys": [jwk] })));
        let members = self.members.clone();
        self.answer("call.chat.rooms", move |body| {
            let user: UserId = serde_json::from_value(body["userId"].clone()).unwrap();
            Ok(json!({ "chatIds": members.lock().unwrap().get(&user).cloned().unwrap_or_default() }))
        });
        let members = self.members.clone();
        self.answer("call.chat.get", move |body| {
            let actor: Actor = serde_json::from_value(body["actor"].clone()).unwrap();
            let chat: ChatId = serde_json::from_value(body["chatId"].clone()).unwrap();
            if members.lock().unwrap().get(&actor.user_id).is_some_and(|chats| chats.contains(&chat)) {
                Ok(chat_json(chat))
            } else {
                Err(Refusal::new(Code::NotFound, "There is no such chat."))
            }
        });
    }

    pub async fn gateway(&self) -> Running {
        self.gateway_with(|_| ()).await
    }

    /// A gateway that is ready.
    pub async fn gateway_with(&self, change: impl FnOnce(&mut Config)) -> Running {
        let running = self.unready_gateway(change).await;
        tokio::time::timeout(SOON, running.readiness.wait()).await.expect("the gateway becomes ready");
        running
    }

    pub async fn unready_gateway(&self, change: impl FnOnce(&mut Config)) -> Running {
        let any = "127.0.0.1:0".parse().unwrap();
        let mut config = Config {
            common: Common {
                nats: nats_config(&self.nats, "gateway"),
                admin: AdminConfig { listen: any },
                log: LogConfig { format: LogFormat::Text, level: "info".into() },
            },
            http: HttpConfig {
                listen: any,
                allowed_origins: "*".into(),
                max_body: 262_144,
                trusted_proxies: 0,
                head_timeout: 30,
            },
            socket: SocketConfig {
                max_payload: 262_144,
                buffer: 1024,
                in_flight: 128,
                ping_interval: 25,
                ping_timeout: 20,
                connect_timeout: 20,
            },
            limits: LimitsConfig {
                sign_in: RateConfig { per_second: 20.0, burst: 1000 },
                connect: RateConfig { per_second: 100.0, burst: 1000 },
                requests: RateConfig { per_second: 100.0, burst: 2000 },
                work_bytes: 64 << 20,
                catching_up: 64,
                passwords: 32,
                sockets: 1000,
                sockets_per_user: 200,
            },
        };
        change(&mut config);
        let gateway = Gateway::start(config).await.unwrap();
        let (url, admin) = (format!("http://{}", gateway.addr()), format!("http://{}", gateway.admin_addr()));
        let (lifecycle, readiness) = (gateway.service().lifecycle().clone(), gateway.service().readiness().clone());
        let ended = tokio::spawn(gateway.run_until_stopped());
        Running { url, admin, lifecycle, readiness, ended }
    }

    pub fn token(&self, person: Person) -> String {
        self.token_for(person, 900)
    }

    /// An access token that lives for this many seconds.
    pub fn token_for(&self, person: Person, seconds: i64) -> String {
        let now = Time::now().as_millis() / 1_000;
        let claims = Claims {
            sub: person.id,
            sid: person.session,
            role: Role::User,
            iss: TOKEN_ISSUER.into(),
            aud: TOKEN_AUDIENCE.into(),
            exp: u64::try_from(now + seconds).unwrap(),
            iat: u64::try_from(now).unwrap(),
        };
        let header = Header { kid: Some(KID.into()), ..Header::new(Algorithm::EdDSA) };
        let key = EncodingKey::from_ed_der(self.key.to_pkcs8_der().unwrap().as_bytes());
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    }

    pub fn rest(&self, gateway: &Running, person: Person) -> Rest {
        Rest::new(&gateway.url).with_token(self.token(person))
    }

    pub async fn client(&self, gateway: &Running, person: Person) -> Client {
        self.driver.connect(&gateway.url, &self.token(person)).await.expect("the client connects")
    }

    /// These people are in the chat, as far as those know who ask.
    pub fn join_quietly(&self, chat: ChatId, people: &[Person]) {
        let mut members = self.members.lock().unwrap();
        for person in people {
            members.entry(person.id).or_default().insert(chat);
        }
    }

    /// The archive says that a person is, or is no longer, in the chat.
    pub async fn put_member(&self, chat: ChatId, person: Person, joined: bool, cursor: Cursor) {
        if joined {
            self.join_quietly(chat, &[person]);
        } else if let Some(chats) = self.members.lock().unwrap().get_mut(&person.id) {
            chats.remove(&chat);
        }
        let entry = serde_json::to_vec(&MemberEntry { cursor, joined, muted: false }).unwrap();
        let key = storage::member_key(person.id, chat);
        self.chat.put(MEMBERS_BUCKET, &key, entry.into(), None).await.unwrap();
    }

    pub async fn revoke(&self, session: SessionId) {
        let key = storage::revoked_key(session);
        self.user.put(REVOKED_BUCKET, &key, "{}".into(), Some(Duration::from_mins(15))).await.unwrap();
    }

    /// Appends an event to a chat's log; answers its cursor.
    pub async fn append(&self, chat: ChatId, event: &str, body: &str) -> Cursor {
        self.append_with(chat, event, body, &[]).await
    }

    /// Appends a message to a chat as this instance of `chat`.
    pub async fn append_by(&self, instance: &str, chat: ChatId) {
        let mut headers = HeaderMap::new();
        headers.insert(headers::EVENT, "message:new");
        headers.insert(headers::INSTANCE, instance);
        let (subject, body) = (storage::log_subject(chat), json!({ "by": instance }).to_string());
        let ack = self.chat.jetstream().publish_with_headers(subject, headers, body.into()).await.unwrap();
        ack.await.unwrap();
    }

    /// Appends an event after which these people are no longer in the chat.
    pub async fn append_with(&self, chat: ChatId, event: &str, body: &str, left: &[Person]) -> Cursor {
        let mut headers = HeaderMap::new();
        headers.insert(headers::EVENT, event);
        if !left.is_empty() {
            let left: Vec<_> = left.iter().map(|person| person.id.to_string()).collect();
            headers.insert(headers::LEFT, left.join(","));
        }
        let subject = storage::log_subject(chat);
        let ack = self.chat.jetstream().publish_with_headers(subject, headers, body.to_owned().into()).await.unwrap();
        ack.await.unwrap().sequence
    }
}

/// As `chat` does it, but for the limits.
async fn read_log(nats: &Nats, body: &Value) -> Value {
    let chat: ChatId = serde_json::from_value(body["chatId"].clone()).unwrap();
    let subject = storage::log_subject(chat);
    let (all, _) = next_events(nats, storage::log_stream(chat), &subject, 1, 10_000, 1 << 20).await.unwrap();
    let mut prev = 0;
    let mut events = Vec::new();
    for logged in all {
        let data: Value = serde_json::from_slice(&logged.payload).unwrap();
        events.push(
            json!({ "event": logged.header(headers::EVENT), "data": data, "cursor": logged.sequence, "prev": prev }),
        );
        prev = logged.sequence;
    }
    match body["after"].as_u64() {
        None => json!({ "events": [], "cursor": prev, "reset": false }),
        Some(after) => {
            events.retain(|event| event["cursor"].as_u64() > Some(after));
            json!({ "events": events, "cursor": prev.max(after), "reset": false })
        }
    }
}

pub fn chat_json(chat: ChatId) -> Value {
    json!({
        "id": chat, "type": "group", "name": "Group", "avatarUrl": null, "members": [], "lastSeq": 0,
        "lastMessage": null, "unread": 0, "muted": false, "createdAt": Time::from_millis(0), "cursor": 0,
    })
}

pub fn message_json(chat: ChatId, person: Person, text: &str) -> Value {
    json!({
        "chatId": chat, "seq": 1, "kind": "user", "senderId": person.id, "clientId": "c1", "text": text,
        "replyTo": null, "attachments": [], "mentions": [], "reactions": BTreeMap::<String, String>::new(),
        "sentAt": Time::from_millis(0), "editedAt": null, "deletedAt": null,
    })
}

async fn connect(nats: &testkit::Nats, user: &str) -> Nats {
    let readiness = Readiness::default();
    let nats = Nats::connect(&nats_config(nats, user), &readiness).await.unwrap();
    tokio::time::timeout(SOON, readiness.wait()).await.expect("NATS is there");
    nats
}

fn nats_config(nats: &testkit::Nats, user: &str) -> NatsConfig {
    NatsConfig { url: nats.url(), user: user.into(), password: nats.password(user).into(), replicas: 1 }
}
