//! `nats.conf` against what it promises: each account may do what its service does, and no more.

use std::time::Duration;

use async_nats::{
    Event,
    jetstream::{
        self, AckKind,
        consumer::{DeliverPolicy, PullConsumer, pull},
        kv, object_store,
    },
    service::ServiceExt,
};
use futures::StreamExt;
use testkit::Nats;
use tokio::{sync::mpsc, time::timeout};

const DEADLINE: Duration = Duration::from_secs(10);
/// A subject that nobody may use: its refusal tells that all earlier ones would have come.
const NOBODYS: &str = "nobody.may.use.this";

/// A connection that keeps what the server refuses.
struct Account {
    client: async_nats::Client,
    refusals: mpsc::UnboundedReceiver<String>,
}

impl Account {
    async fn connect(nats: &Nats, user: &str) -> Self {
        let (sender, refusals) = mpsc::unbounded_channel();
        let client = nats
            .client(user)
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    let _ = sender.send(error.to_string());
                }
                async {}
            })
            .connect(nats.url())
            .await
            .unwrap();
        Self { client, refusals }
    }

    /// Which of the subjects this account may not publish to.
    async fn refused_publishes(&mut self, subjects: &[&str]) -> Vec<String> {
        for subject in subjects.iter().chain([&NOBODYS]) {
            self.client.publish((*subject).to_owned(), "".into()).await.unwrap();
        }
        self.refused(subjects).await
    }

    /// Which of the subjects this account may not subscribe to.
    async fn refused_subscriptions(&mut self, subjects: &[&str]) -> Vec<String> {
        let mut all = Vec::new();
        for subject in subjects.iter().chain([&NOBODYS]) {
            all.push(self.client.subscribe((*subject).to_owned()).await.unwrap());
        }
        self.refused(subjects).await
    }

    async fn refused(&mut self, subjects: &[&str]) -> Vec<String> {
        let mut refused = Vec::new();
        loop {
            let refusal = timeout(DEADLINE, self.refusals.recv()).await.unwrap().unwrap();
            let quoted = |subject: &&&str| refusal.to_lowercase().contains(&format!("\"{}\"", subject.to_lowercase()));
            if quoted(&&NOBODYS) {
                return refused;
            }
            let subject = subjects.iter().find(quoted).unwrap_or_else(|| panic!("unexpected: {refusal}"));
            refused.push((*subject).to_owned());
        }
    }
}

async fn may_publish(nats: &Nats, user: &str, subjects: &[&str]) {
    let refused = Account::connect(nats, user).await.refused_publishes(subjects).await;
    assert!(refused.is_empty(), "{user} must be able to publish to {refused:?}");
}

async fn may_not_publish(nats: &Nats, user: &str, subjects: &[&str]) {
    let refused = Account::connect(nats, user).await.refused_publishes(subjects).await;
    assert_eq!(refused, subjects, "{user} must be refused all of these");
}

async fn may_subscribe(nats: &Nats, user: &str, subjects: &[&str]) {
    let refused = Account::connect(nats, user).await.refused_subscriptions(subjects).await;
    assert!(refused.is_empty(), "{user} must be able to subscribe to {refused:?}");
}

async fn may_not_subscribe(nats: &Nats, user: &str, subjects: &[&str]) {
    let refused = Account::connect(nats, user).await.refused_subscriptions(subjects).await;
    assert_eq!(refused, subjects, "{user} must be refused all of these");
}

const SERVICES: [&str; 4] = ["user", "chat", "mail", "gateway"];

#[tokio::test]
async fn nobody_connects_without_a_password_or_with_anothers() {
    let nats = Nats::start().await;
    assert!(async_nats::connect(nats.url()).await.is_err());
    let wrong = async_nats::ConnectOptions::with_user_and_password("chat".to_owned(), nats.password("mail").to_owned());
    assert!(wrong.connect(nats.url()).await.is_err());
}

#[tokio::test]
async fn only_chat_writes_the_log_and_nobody_writes_rooms() {
    let nats = Nats::start().await;
    may_publish(&nats, "chat", &["chat.log.0.x"]).await;
    for user in ["user", "mail", "gateway", "inspector"] {
        may_not_publish(&nats, user, &["chat.log.0.x", "$KV.CHATS.x", "$KV.MEMBERS.u.c", "$KV.READS.c.u"]).await;
    }
    for user in testkit::nats::USERS {
        may_not_publish(&nats, user, &["room.x.log", "room.x.typing.u", "presence.u", "$SYS.REQ.SERVER.PING"]).await;
    }
}

#[tokio::test]
async fn one_time_codes_are_for_user_alone() {
    let nats = Nats::start().await;
    let user = jetstream::new(nats.connect("user").await);
    let codes = user.create_key_value(kv::Config { bucket: "OTP".to_owned(), ..Default::default() }).await.unwrap();
    codes.put("code.login.x", "secret".into()).await.unwrap();
    assert_eq!(codes.get("code.login.x").await.unwrap().unwrap(), "secret");

    for other in ["chat", "mail", "gateway", "inspector"] {
        may_not_publish(
            &nats,
            other,
            &[
                "$KV.OTP.code.login.x",
                "$JS.API.DIRECT.GET.KV_OTP",
                "$JS.API.DIRECT.GET.KV_OTP.$KV.OTP.code.login.x",
                "$JS.API.STREAM.MSG.GET.KV_OTP",
                "$JS.API.CONSUMER.CREATE.KV_OTP",
                "$JS.API.CONSUMER.CREATE.KV_OTP.x",
                "$JS.API.CONSUMER.DURABLE.CREATE.KV_OTP.x",
                "$JS.API.STREAM.PURGE.KV_OTP",
                "$JS.API.STREAM.UPDATE.KV_OTP",
                "$JS.API.STREAM.SNAPSHOT.KV_OTP",
            ],
        )
        .await;
        may_not_subscribe(&nats, other, &["$KV.OTP.>", "$KV.>", ">", "mail.send.>"]).await;
    }
}

#[tokio::test]
async fn calls_are_for_services_and_answered_by_their_owner() {
    let nats = Nats::start().await;
    for service in SERVICES {
        may_publish(&nats, service, &["call.user.login", "call.chat.send", "call.mail.list"]).await;
        let own = format!("call.{service}.>");
        may_subscribe(&nats, service, &[&own, "$SRV.>", &format!("_INBOX_{service}.>")]).await;
        let others: Vec<_> = SERVICES.iter().filter(|other| **other != service).collect();
        for other in others {
            let foreign = [format!("call.{other}.x"), format!("_INBOX_{other}.>"), "_INBOX.>".to_owned()];
            may_not_subscribe(&nats, service, &foreign.each_ref().map(String::as_str)).await;
            may_not_publish(&nats, service, &[&format!("_INBOX_{other}.x.y")]).await;
        }
    }
    may_not_publish(&nats, "inspector", &["call.user.login", "person.u.chat.left"]).await;
    may_not_subscribe(&nats, "inspector", &["call.>", "_INBOX_gateway.>", "_INBOX_*.>", "$JS.API.>", "$SRV.>"]).await;
}

#[tokio::test]
async fn a_micro_service_is_called_listed_and_answers_once() {
    let nats = Nats::start().await;
    let chat = nats.connect("chat").await;
    let service = chat.service_builder().start("chat", "0.1.0").await.unwrap();
    let mut endpoint = service.endpoint("call.chat.echo").await.unwrap();
    tokio::spawn(async move {
        while let Some(request) = endpoint.next().await {
            let payload = request.message.payload.clone();
            request.respond(Ok(payload)).await.unwrap();
        }
    });

    let gateway = nats.connect("gateway").await;
    for _ in 0..100 {
        let reply = gateway.request("call.chat.echo", "hello".into()).await.unwrap();
        assert_eq!(reply.payload, "hello");
    }
    let inspector = nats.connect("inspector").await;
    for subject in ["$SRV.PING", "$SRV.INFO.chat", "$SRV.STATS.chat"] {
        let reply = inspector.request(subject, "".into()).await.unwrap();
        assert!(reply.payload.starts_with(b"{"), "{subject}: {reply:?}");
    }
    assert_eq!(
        gateway.request("call.mail.x", "".into()).await.unwrap_err().kind(),
        async_nats::RequestErrorKind::NoResponders
    );
}

#[tokio::test]
async fn chat_keeps_its_log_and_mail_follows_it_as_notify() {
    let nats = Nats::start().await;
    let chat = jetstream::new(nats.connect("chat").await);
    let log = jetstream::stream::Config {
        name: "CHAT_0".to_owned(),
        subjects: vec!["chat.log.0.*".to_owned()],
        allow_direct: true,
        ..Default::default()
    };
    let stream = chat.create_or_update_stream(log).await.unwrap();
    assert_eq!(stream.config.name, "CHAT_0");
    let stream = chat.get_stream("CHAT_0").await.unwrap();
    chat.publish("chat.log.0.a", "one".into()).await.unwrap().await.unwrap();
    assert_eq!(stream.direct_get_last_for_subject("chat.log.0.a").await.unwrap().payload, "one");
    let archive = stream.get_or_create_consumer("archive", durable("archive")).await.unwrap();
    acknowledge_one(archive).await;

    let mail = jetstream::new(nats.connect("mail").await);
    let stream = mail.get_stream("CHAT_0").await.unwrap();
    let notify = stream.get_or_create_consumer("notify", durable("notify")).await.unwrap();
    acknowledge_one(notify).await;
    may_not_publish(
        &nats,
        "mail",
        &[
            "$JS.API.CONSUMER.CREATE.CHAT_0.archive",
            "$JS.API.CONSUMER.MSG.NEXT.CHAT_0.archive",
            "$JS.ACK.CHAT_0.archive.1.1.1.1.1",
            "$JS.API.STREAM.PURGE.CHAT_0",
            "$JS.API.STREAM.UPDATE.CHAT_0",
            "$JS.API.DIRECT.GET.CHAT_0",
        ],
    )
    .await;
}

fn durable(name: &str) -> pull::Config {
    pull::Config {
        durable_name: Some(name.to_owned()),
        filter_subject: "chat.log.0.*".to_owned(),
        ..Default::default()
    }
}

async fn acknowledge_one(consumer: PullConsumer) {
    let mut messages = consumer.messages().await.unwrap();
    let message = timeout(DEADLINE, messages.next()).await.unwrap().unwrap().unwrap();
    message.ack_with(AckKind::Progress).await.unwrap();
    message.double_ack().await.unwrap();
}

#[tokio::test]
async fn streams_are_deleted_by_nobody_and_changed_by_their_owner() {
    let nats = Nats::start().await;
    let owners = [
        ("CHAT_0", "chat"),
        ("CHAT_1", "chat"),
        ("CHAT_2", "chat"),
        ("CHAT_3", "chat"),
        ("KV_CHATS", "chat"),
        ("KV_MEMBERS", "chat"),
        ("KV_TYPING", "chat"),
        ("KV_READS", "chat"),
        ("KV_OTP", "user"),
        ("KV_REVOKED", "user"),
        ("MAIL", "mail"),
        ("MAIL_DEAD", "mail"),
        ("OBJ_FILES", "gateway"),
    ];
    for user in testkit::nats::USERS {
        let deletions: Vec<_> = owners.iter().map(|(stream, _)| format!("$JS.API.STREAM.DELETE.{stream}")).collect();
        may_not_publish(&nats, user, &deletions.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let foreign: Vec<_> = owners.iter().filter(|(_, owner)| *owner != user).collect();
        let changes: Vec<_> = foreign.iter().map(|(stream, _)| format!("$JS.API.STREAM.UPDATE.{stream}")).collect();
        may_not_publish(&nats, user, &changes.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
}

#[tokio::test]
async fn letters_are_queued_by_user_and_mail() {
    let nats = Nats::start().await;
    let mail = jetstream::new(nats.connect("mail").await);
    let queue = |name: &str, subjects: &[&str]| jetstream::stream::Config {
        name: name.to_owned(),
        subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
        retention: jetstream::stream::RetentionPolicy::WorkQueue,
        ..Default::default()
    };
    mail.create_stream(queue("MAIL", &["mail.send.>", "mail.schedule.>"])).await.unwrap();
    mail.create_stream(queue("MAIL_DEAD", &["mail.dead.>"])).await.unwrap();
    for user in ["user", "mail"] {
        let publisher = jetstream::new(nats.connect(user).await);
        publisher.publish("mail.send.otp", "letter".into()).await.unwrap().await.unwrap();
    }
    mail.publish("mail.dead.otp", "letter".into()).await.unwrap().await.unwrap();
    may_not_publish(&nats, "user", &["mail.schedule.x", "mail.dead.x", "$JS.API.CONSUMER.CREATE.MAIL.x"]).await;
    may_not_publish(&nats, "chat", &["mail.send.x"]).await;
    may_not_publish(&nats, "gateway", &["mail.send.x"]).await;
    let send = pull::Config { durable_name: Some("send".to_owned()), ..Default::default() };
    let send = mail.get_stream("MAIL").await.unwrap().get_or_create_consumer("send", send).await.unwrap();
    acknowledge_one(send).await;
}

#[tokio::test]
async fn gateway_watches_revoked_sessions_and_events_and_keeps_files() {
    let nats = Nats::start().await;
    let user = jetstream::new(nats.connect("user").await);
    let bucket = |name: &str| kv::Config { bucket: name.to_owned(), history: 1, ..Default::default() };
    let revoked = user.create_key_value(bucket("REVOKED")).await.unwrap();
    revoked.put("session-1", "".into()).await.unwrap();

    let gateway = jetstream::new(nats.connect("gateway").await);
    let mut watch = gateway.get_key_value("REVOKED").await.unwrap().watch_with_history(">").await.unwrap();
    let entry = timeout(DEADLINE, watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(entry.key, "session-1");
    revoked.put("session-2", "".into()).await.unwrap();
    let entry = timeout(DEADLINE, watch.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(entry.key, "session-2");

    let presence = gateway.create_key_value(bucket("PRESENCE")).await.unwrap();
    presence.put("gateway.1", "lease".into()).await.unwrap();
    presence.delete("gateway.1").await.unwrap();
    let mut changes = user.get_key_value("PRESENCE").await.unwrap().watch_all().await.unwrap();
    presence.put("user.u.1", "online".into()).await.unwrap();
    let change = timeout(DEADLINE, changes.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(change.key, "user.u.1");

    let files = object_store::Config { bucket: "FILES".to_owned(), ..Default::default() };
    let files = gateway.create_object_store(files).await.unwrap();
    let content = vec![7_u8; 300_000];
    files.put("picture", &mut content.as_slice()).await.unwrap();
    let mut read = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut files.get("picture").await.unwrap(), &mut read).await.unwrap();
    assert_eq!(read, content);
    files.delete("picture").await.unwrap();

    may_subscribe(&nats, "gateway", &["room.x.>", "person.u.>", "presence.u"]).await;
    may_not_subscribe(&nats, "gateway", &["chat.log.>", "$KV.MEMBERS.>", "$JS.>"]).await;
    may_not_publish(&nats, "gateway", &["$KV.REVOKED.session-1", "$KV.TYPING.c.u", "$KV.PRESENCE.view.u"]).await;
    may_publish(&nats, "user", &["$KV.PRESENCE.view.u", "$KV.PRESENCE.user.u.1", "$KV.LAST_SEEN.u"]).await;
    may_not_publish(&nats, "user", &["$KV.PRESENCE.gateway.1"]).await;
}

#[tokio::test]
async fn inspector_sees_streams_consumers_and_keys_but_changes_nothing() {
    let nats = Nats::start().await;
    let chat = jetstream::new(nats.connect("chat").await);
    let reads = chat.create_key_value(kv::Config { bucket: "READS".to_owned(), ..Default::default() }).await.unwrap();
    reads.put("c.u", "7".into()).await.unwrap();
    let stream = chat.get_stream("KV_READS").await.unwrap();
    let consumer = pull::Config { deliver_policy: DeliverPolicy::All, ..Default::default() };
    let consumer = stream.create_consumer(consumer).await.unwrap();

    let inspector = jetstream::new(nats.connect("inspector").await);
    let names: Vec<_> = inspector.stream_names().map(Result::unwrap).collect().await;
    assert_eq!(names, ["KV_READS"]);
    let stream = inspector.get_stream("KV_READS").await.unwrap();
    assert_eq!(stream.consumer_names().next().await.unwrap().unwrap(), consumer.cached_info().name);
    assert_eq!(inspector.get_key_value("READS").await.unwrap().get("c.u").await.unwrap().unwrap(), "7");

    may_subscribe(&nats, "inspector", &["room.>", "person.>", "presence.>", "chat.log.*.*", "$KV.READS.>"]).await;
    may_not_publish(
        &nats,
        "inspector",
        &[
            "$KV.READS.c.u",
            "$JS.API.STREAM.CREATE.X",
            "$JS.API.STREAM.UPDATE.CHAT_0",
            "$JS.API.STREAM.PURGE.CHAT_0",
            "$JS.API.CONSUMER.CREATE.CHAT_0.x",
            "$JS.API.CONSUMER.DELETE.CHAT_0.archive",
            "$JS.API.STREAM.MSG.GET.MAIL",
            "$JS.API.DIRECT.GET.MAIL",
            "$JS.ACK.CHAT_0.archive.1.1.1.1.1",
        ],
    )
    .await;
}
