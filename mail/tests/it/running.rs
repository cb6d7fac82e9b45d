//! A running mail service and its surroundings.

use std::{path::Path, time::Duration};

use async_nats::{
    HeaderMap,
    jetstream::{self, message::StreamMessage},
};
use contract::{
    Time,
    mail::{Content, Letter},
    storage,
    text::{Email, Name, Secret},
};
use testkit::{Mongo, Nats, eventually, process::Output, scratch, secrets, services::Service, smtp::Sink};

pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The mail service with a NATS of its own.
pub(crate) struct Running {
    pub(crate) nats: Nats,
    pub(crate) mongo: Mongo,
    pub(crate) folder: scratch::Folder,
    /// As the `user` service is: what asks for letters.
    user: jetstream::Context,
    /// As the mail service is.
    mail: jetstream::Context,
    env: Vec<(String, String)>,
    service: Option<Service>,
}

impl Running {
    /// Sends over `sink`, which has neither TLS nor a login, with short delays; `more` wins.
    pub(crate) async fn over(sink: &Sink, more: &[(&str, &str)]) -> Self {
        let port = sink.port().to_string();
        let smtp = [("SMTP__HOST", "127.0.0.1"), ("SMTP__PORT", &port), ("SMTP__TLS", "none")];
        Self::with(&[smtp.as_slice(), more].concat()).await
    }

    /// With these keys of `[mail]`.
    pub(crate) async fn with(keys: &[(&str, &str)]) -> Self {
        Self::with_env(keys, Vec::new()).await
    }

    /// With these keys of `[mail]` and further variables.
    pub(crate) async fn with_env(keys: &[(&str, &str)], more: Vec<(String, String)>) -> Self {
        let nats = Nats::start().await;
        let folder = scratch::Folder::new("mail").unwrap();
        let mut env = nats.env("mail");
        let mongo = Mongo::shared().await;
        env.extend(mongo.env());
        env.push(("NATTER_LINKS__KEY".to_owned(), secrets::pepper()));
        let short = [
            ("FROM", "Natter <natter@example.org>"),
            ("SMTP__TIMEOUT", "5s"),
            ("RETRY__FIRST", "20ms"),
            ("RETRY__LONGEST", "100ms"),
        ];
        env.extend(short.iter().chain(keys).map(|(key, value)| variable(key, value)));
        env.extend(more);
        // What `chat` has there.
        let chat = jetstream::new(nats.connect("chat").await);
        for (partition, name) in storage::CHAT_STREAMS.iter().enumerate() {
            let log = jetstream::stream::Config {
                name: (*name).to_owned(),
                subjects: vec![storage::log_subjects(partition)],
                ..Default::default()
            };
            chat.create_stream(log).await.unwrap();
        }
        let reads = jetstream::kv::Config { bucket: storage::READS_BUCKET.to_owned(), ..Default::default() };
        chat.create_key_value(reads).await.unwrap();
        let user = jetstream::new(nats.connect("user").await);
        let mail = jetstream::new(nats.connect("mail").await);
        let mut running = Self { nats, mongo, folder, user, mail, env, service: None };
        running.start_again().await;
        running
    }

    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.env.push(variable(key, value));
    }

    /// Starts it after `kill` or `stop`, and waits until it is ready.
    pub(crate) async fn start_again(&mut self) {
        self.kill().await;
        let output = Output::File(self.folder.path().join("log"));
        let service = Service::start(Path::new(env!("CARGO_BIN_EXE_mail")), "mail", &self.env, output).unwrap();
        service.wait_until_ready(DEADLINE).await.unwrap();
        self.service = Some(service);
    }

    /// SIGKILL.
    pub(crate) async fn kill(&mut self) {
        if let Some(service) = self.service.take() {
            service.process.kill();
            service.process.wait().await;
        }
    }

    /// SIGTERM; does not wait.
    pub(crate) fn terminate(&self) {
        self.service.as_ref().unwrap().process.terminate();
    }

    /// Waits for its end; whether its exit code was 0.
    pub(crate) async fn ended(&mut self) -> bool {
        self.service.take().unwrap().process.wait().await.success()
    }

    /// SIGTERM, and waits for its end.
    pub(crate) async fn stop(&mut self) {
        self.terminate();
        assert!(self.ended().await, "{}", self.log());
    }

    /// What the running service counts.
    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://{}/metrics", self.service.as_ref().unwrap().admin);
        let answer = reqwest::get(url).await;
        match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub(crate) async fn wait_for_log(&self, text: &str) {
        eventually(text, DEADLINE, async || self.log().contains(text).then_some(())).await;
    }

    /// Asks for a letter as the services do.
    pub(crate) async fn ask(&self, letter: &Letter, id: &str) {
        let body = serde_json::to_vec(letter).unwrap();
        self.publish(letter.subject(), body, Some(id)).await;
    }

    pub(crate) async fn publish(&self, subject: &'static str, body: Vec<u8>, id: Option<&str>) {
        let mut headers = HeaderMap::new();
        if let Some(id) = id {
            headers.insert("Nats-Msg-Id", id);
        }
        self.user.publish_with_headers(subject, headers, body.into()).await.unwrap().await.unwrap();
    }

    /// Messages in a stream.
    pub(crate) async fn count(&self, stream: &str) -> u64 {
        self.mail.get_stream(stream).await.unwrap().cached_info().state.messages
    }

    /// Waits until nothing is queued any more.
    pub(crate) async fn wait_until_empty(&self) {
        let empty = async || (self.count(storage::MAIL_STREAM).await == 0).then_some(());
        eventually("an empty queue", DEADLINE, empty).await;
    }

    /// The dead letters, once there are `count`.
    pub(crate) async fn dead(&self, count: u64) -> Vec<StreamMessage> {
        let there = async || (self.count(storage::MAIL_DEAD_STREAM).await >= count).then_some(());
        eventually(&format!("{count} dead letters"), DEADLINE, there).await;
        let stream = self.mail.get_stream(storage::MAIL_DEAD_STREAM).await.unwrap();
        let mut letters = Vec::new();
        for sequence in 1..=count {
            letters.push(stream.direct_get(sequence).await.unwrap());
        }
        letters
    }
}

/// A key of `[mail]` as an environment variable.
pub(crate) fn variable(key: &str, value: &str) -> (String, String) {
    (format!("NATTER_MAIL__{key}"), value.to_owned())
}

pub(crate) fn header<'a>(message: &'a StreamMessage, name: &str) -> &'a str {
    message.headers.get(name).map_or("", |value| value.as_str())
}

pub(crate) fn otp(to: &str, code: &str) -> Letter {
    Letter {
        to: Email::new(to).unwrap(),
        name: Some(Name::new("Anna <&> \"Co\"").unwrap()),
        content: Content::Otp { code: Secret::new(code), minutes: 5 },
        expires_at: Some(Time::now().plus(Duration::from_mins(5))),
    }
}

pub(crate) fn notice(to: &str) -> Letter {
    Letter { to: Email::new(to).unwrap(), name: None, content: Content::AlreadyRegistered {}, expires_at: None }
}
