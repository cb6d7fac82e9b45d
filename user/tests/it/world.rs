//! The service with everything around it, and what a person does with it.

use std::{net::SocketAddr, process::Command, time::Duration};

use async_nats::jetstream::{self, message::StreamMessage, stream};
use contract::{
    Actor, Code, Done, Refusal, Request, SessionId,
    mail::{Content, Letter},
    storage::{MAIL_STREAM, MAIL_SUBJECTS, OTP_BUCKET, REVOKED_BUCKET},
    text::{Email, Name, NewPassword, Secret},
    user::{
        Account, Claims, Client, ForgotPassword, GetJwks, GetMe, KnownUsers, ListSessions, Login, LoginBody, Refresh,
        RefreshBody, Register, Registered, RequestOtp, ResetPassword, Session, TOKEN_AUDIENCE, TOKEN_ISSUER, Tokens,
        Verify, VerifyBody,
    },
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use mongodb::bson::Document;
use serde_json::{Value, json};
use service::Caller;
use testkit::{
    Mongo, Nats, eventually, free_port,
    process::{Output, Process},
    scratch, secrets,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use user::{Config, User};

pub const PASSWORD: &str = "correct horse battery staple";
pub const SOON: Duration = Duration::from_secs(10);

pub struct World {
    pub nats: Nats,
    pub mongo: Mongo,
    pub caller: Caller,
    /// What the service was started with.
    pub auth: Value,
    mail: jetstream::Context,
    user: jetstream::Context,
    service: Option<User>,
}

impl World {
    pub async fn start() -> Self {
        Self::start_with(json!({})).await
    }

    /// With these settings of `[auth]` instead of the tests' own.
    pub async fn start_with(auth: Value) -> Self {
        let world = Self::start_on(Nats::start().await, Mongo::shared().await, auth).await;
        world.create_mail_stream().await;
        world
    }

    /// On servers that are there, which may have had a service before.
    pub async fn start_on(nats: Nats, mongo: Mongo, changes: Value) -> Self {
        let mut auth = json!({
            "signing_key": secrets::signing_key(),
            "pepper": secrets::pepper(),
            "access_token_seconds": 900, "session_days": 30,
            "otp_seconds": 300, "otp_tries": 5, "otp_resend_seconds": 60,
            // As cheap as Argon2 allows: its strength is not what these tests are about.
            "hash_memory_kib": 8, "hash_passes": 1, "hash_lanes": 1, "hash_concurrency": 2, "hash_queue": 64,
            "logins": { "per_second": 0.2, "burst": 20 },
        });
        auth.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let service = User::start(config(&nats, &mongo, &auth)).await.unwrap();
        let caller = Caller::new(nats.connect("gateway").await);
        let mail = jetstream::new(nats.connect("mail").await);
        let user = jetstream::new(nats.connect("user").await);
        let world = Self { nats, mongo, caller, auth, mail, user, service: Some(service) };
        world.wait_until_ready().await;
        world
    }

    /// Another one on the same servers and secrets, in place of this one.
    pub async fn restart_with(mut self, changes: Value) -> Self {
        self.stop().await;
        let Self { nats, mongo, mut auth, .. } = self;
        auth.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        Self::start_on(nats, mongo, auth).await
    }

    pub async fn stop(&mut self) {
        if let Some(service) = self.service.take() {
            service.stop();
            service.run_until_stopped().await.unwrap();
        }
    }

    /// After [`stop`](Self::stop).
    pub async fn start_again(&mut self) {
        self.service = Some(self.another().await);
        self.wait_until_ready().await;
    }

    /// One more instance on the same servers with the same settings.
    pub async fn another(&self) -> User {
        User::start(config(&self.nats, &self.mongo, &self.auth)).await.unwrap()
    }

    /// Where the service's admin port is.
    pub fn admin_addr(&self) -> SocketAddr {
        self.service.as_ref().unwrap().admin_addr()
    }

    /// The same service, on the same servers with the same settings, as a process of its own.
    pub async fn move_to_a_process(&mut self) -> ServiceProcess {
        self.stop().await;
        let admin = free_port::address(free_port::any().unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_user"));
        command.env_clear().envs(self.nats.env("user")).envs(self.mongo.env());
        command.env("NATTER_ADMIN__LISTEN", admin.to_string());
        // Limits are as the process has them by itself.
        for (key, value) in self.auth.as_object().unwrap().iter().filter(|(_, value)| !value.is_object()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            command.env(format!("NATTER_AUTH__{}", key.to_uppercase()), value);
        }
        let folder = scratch::Folder::new("user").unwrap();
        let process = Process::spawn("user", command, Output::File(folder.path().join("log"))).unwrap();
        self.wait_until_ready().await;
        ServiceProcess { admin, _process: process, _folder: folder }
    }

    pub async fn wait_until_ready(&self) {
        eventually("the service to serve", Duration::from_secs(30), async || {
            self.call(&KnownUsers { user_ids: Vec::new() }).await.ok()
        })
        .await;
    }

    /// What the mail service does when it starts.
    pub async fn create_mail_stream(&self) {
        let config = stream::Config {
            name: MAIL_STREAM.to_owned(),
            subjects: MAIL_SUBJECTS.map(str::to_owned).into(),
            retention: stream::RetentionPolicy::WorkQueue,
            allow_direct: true,
            ..Default::default()
        };
        self.mail.create_stream(config).await.unwrap();
    }

    /// Makes the queue of letters refuse whatever is written, or take it again.
    pub async fn seal_letters(&self, sealed: bool) {
        seal(&self.mail, MAIL_STREAM, sealed).await;
    }

    /// The same of the bucket of revoked sessions.
    pub async fn seal_revoked(&self, sealed: bool) {
        seal(&self.user, &format!("KV_{REVOKED_BUCKET}"), sealed).await;
    }

    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Reply, Refusal> {
        self.caller.call(request).await
    }

    // What a person does.

    pub async fn register(&self, email: &str, password: &str) -> Result<Registered, Refusal> {
        self.call(&Register { email: address(email), password: new_password(password), name: name("Anna") }).await
    }

    pub async fn request_otp(&self, email: &str) -> Result<Done, Refusal> {
        self.call(&RequestOtp { email: address(email) }).await
    }

    pub async fn verify(&self, email: &str, code: &str) -> Result<Tokens, Refusal> {
        let body = VerifyBody { email: address(email), code: Secret::new(code), device: None };
        self.call(&Verify { body, client: Client::default() }).await
    }

    pub async fn login(&self, email: &str, password: &str) -> Result<Tokens, Refusal> {
        let body = LoginBody { email: address(email), password: Secret::new(password), device: None };
        self.call(&Login { body, client: Client::default() }).await
    }

    pub async fn forgot_password(&self, email: &str) -> Result<Done, Refusal> {
        self.call(&ForgotPassword { email: address(email) }).await
    }

    pub async fn reset_password(&self, email: &str, code: &str, password: &str) -> Result<Done, Refusal> {
        let (email, password) = (address(email), new_password(password));
        self.call(&ResetPassword { email, code: Secret::new(code), password }).await
    }

    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, Refusal> {
        let body = RefreshBody { refresh_token: Secret::new(refresh_token) };
        self.call(&Refresh { body, client: Client::default() }).await
    }

    pub async fn me(&self, tokens: &Tokens) -> Account {
        self.call(&GetMe { actor: self.actor(tokens).await }).await.unwrap()
    }

    pub async fn sessions(&self, tokens: &Tokens) -> Vec<Session> {
        self.call(&ListSessions { actor: self.actor(tokens).await }).await.unwrap().sessions
    }

    /// Registers and verifies.
    pub async fn sign_up(&self, email: &str) -> Tokens {
        self.register(email, PASSWORD).await.unwrap();
        self.verify(email, &self.code(email).await).await.unwrap()
    }

    /// What a gateway does: verifies the access token with the published keys.
    pub async fn actor(&self, tokens: &Tokens) -> Actor {
        let claims = self.claims(&tokens.access_token).await.unwrap();
        Actor { user_id: claims.sub, session_id: claims.sid, role: claims.role }
    }

    pub async fn claims(&self, token: &str) -> jsonwebtoken::errors::Result<Claims> {
        let kid = jsonwebtoken::decode_header(token)?.kid.unwrap();
        let keys = self.call(&GetJwks {}).await.unwrap().keys;
        let key = keys.iter().find(|key| key.kid == kid).expect("the key is published");
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.set_audience(&[TOKEN_AUDIENCE]);
        validation.set_issuer(&[TOKEN_ISSUER]);
        jsonwebtoken::decode(token, &DecodingKey::from_ed_components(&key.x)?, &validation).map(|token| token.claims)
    }

    // What was mailed.

    /// Letters to this address that have been queued, oldest first: a call that has been answered has queued its own.
    pub async fn letters(&self, email: &str) -> Vec<Letter> {
        let stream = self.mail.get_stream(MAIL_STREAM).await.unwrap();
        let mut letters = Vec::new();
        for sequence in 1..=stream.cached_info().state.last_sequence {
            let message = stream.direct_get(sequence).await.unwrap();
            let letter: Letter = serde_json::from_slice(&message.payload).unwrap();
            assert_eq!(message.subject.as_str(), letter.subject());
            assert!(message.headers.get("Nats-Msg-Id").is_some());
            if *letter.to == *email {
                letters.push(letter);
            }
        }
        letters
    }

    /// Codes mailed to this address, oldest first.
    pub async fn codes(&self, email: &str) -> Vec<String> {
        let codes = self.letters(email).await.into_iter().filter_map(|letter| match letter.content {
            Content::Otp { code, minutes } => {
                assert!(letter.expires_at.is_some() && minutes > 0);
                Some(code.expose().to_owned())
            }
            _ => None,
        });
        codes.collect()
    }

    /// Codes to set a new password, oldest first.
    pub async fn reset_codes(&self, email: &str) -> Vec<String> {
        let codes = self.letters(email).await.into_iter().filter_map(|letter| match letter.content {
            Content::PasswordReset { code, minutes } => {
                assert!(letter.expires_at.is_some() && minutes > 0);
                Some(code.expose().to_owned())
            }
            _ => None,
        });
        codes.collect()
    }

    /// The code mailed last.
    pub async fn code(&self, email: &str) -> String {
        self.codes(email).await.pop().expect("a code was mailed")
    }

    // What is stored.

    /// Messages of the one key under `$KV.OTP.code.<purpose>.*`: its last one.
    pub async fn otp_entry(&self, purpose: &str) -> Option<StreamMessage> {
        let stream = self.user.get_stream(format!("KV_{OTP_BUCKET}")).await.unwrap();
        stream.direct_get_last_for_subject(format!("$KV.{OTP_BUCKET}.code.{purpose}.*")).await.ok()
    }

    pub async fn revoked_entry(&self, session: SessionId) -> Option<StreamMessage> {
        let stream = self.user.get_stream(format!("KV_{REVOKED_BUCKET}")).await.unwrap();
        stream.direct_get_last_for_subject(format!("$KV.{REVOKED_BUCKET}.{session}")).await.ok()
    }

    pub async fn documents(&self, collection: &str, filter: Document) -> Vec<Document> {
        let collection = self.mongo.connect().await.collection::<Document>(collection);
        let mut found = collection.find(filter).await.unwrap();
        let mut documents = Vec::new();
        while found.advance().await.unwrap() {
            documents.push(found.deserialize_current().unwrap());
        }
        documents
    }
}

/// The service as an operator runs it.
pub struct ServiceProcess {
    admin: SocketAddr,
    _process: Process,
    _folder: scratch::Folder,
}

impl ServiceProcess {
    /// The value of a metric without labels; 0 before it is counted for the first time.
    pub async fn counter(&self, name: &str) -> u64 {
        let mut connection = TcpStream::connect(self.admin).await.unwrap();
        connection.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
        let line = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

fn config(nats: &Nats, mongo: &Mongo, auth: &Value) -> Config {
    let config = json!({
        "nats": { "url": nats.url(), "user": "user", "password": nats.password("user"), "replicas": 1 },
        "admin": { "listen": "127.0.0.1:0" },
        "log": { "format": "text", "level": "warn" },
        "mongo": { "uri": mongo.uri(), "database": mongo.database() },
        "auth": auth,
    });
    serde_json::from_value(config).unwrap()
}

async fn seal(context: &jetstream::Context, stream: &str, sealed: bool) {
    let mut config = context.get_stream(stream).await.unwrap().cached_info().config.clone();
    config.max_message_size = if sealed { 1 } else { -1 };
    context.update_stream(config).await.unwrap();
}

pub fn address(email: &str) -> Email {
    Email::new(email).unwrap()
}

pub fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

pub fn new_password(password: &str) -> NewPassword {
    serde_json::from_value(json!(password)).unwrap()
}

/// A code of six digits that is not this one.
pub fn other_than(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(outcome: Result<T, Refusal>, code: Code) -> Refusal {
    let refusal = outcome.unwrap_err();
    assert_eq!(refusal.code, code, "{refusal}");
    refusal
}
