//! A mail service that pushes to a push service of the test, and those who ask it to.

use std::time::Duration;

use bson::{Document, doc};
use contract::{
    Actor, ChatId, Refusal, SessionId, Time, UserId,
    push::{EndSubscription, GetPushKey, PUSH_SUBJECT, PushJob, PushKey, Subscribe, Topic, Urgency},
    user::Role,
};
use serde_json::{Value, json};
use service::Caller;
use testkit::{
    eventually,
    push::{Browser, PushService},
    secrets,
};

use crate::running::{DEADLINE, Running};

pub(crate) struct World {
    pub(crate) mail: Running,
    pub(crate) service: PushService,
    gateway: Caller,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// With these keys of `[push]`; an empty one is as if it were not there.
    pub(crate) async fn with(keys: &[(&str, &str)]) -> Self {
        let service = PushService::start().await;
        let variable = |(key, value): (&str, &str)| (format!("NATTER_PUSH__{key}"), value.to_owned());
        let usual = [
            ("VAPID_KEY", secrets::vapid_key()),
            ("CONTACT", "mailto:operator@example.org".to_owned()),
            ("TIMEOUT", "5s".to_owned()),
            ("RETRY__FIRST", "20ms".to_owned()),
            ("RETRY__LONGEST", "100ms".to_owned()),
        ];
        let mut env: Vec<_> = usual.iter().map(|(key, value)| variable((*key, value.as_str()))).collect();
        env.extend(service.env());
        env.extend(keys.iter().copied().map(variable));
        let letters = std::env::temp_dir().join("natter-no-letters").display().to_string();
        let mail = Running::with_env(&[("FILES", &letters)], env).await;
        let gateway = Caller::new(mail.nats.connect("gateway").await);
        Self { mail, service, gateway }
    }

    pub(crate) async fn key(&self) -> Result<PushKey, Refusal> {
        self.gateway.call(&GetPushKey {}).await
    }

    pub(crate) async fn subscribe(&self, user: UserId, subscription: Value) -> Result<(), Refusal> {
        let subscription = serde_json::from_value(subscription).unwrap();
        self.gateway.call(&Subscribe { actor: actor(user), subscription }).await.map(|_| ())
    }

    pub(crate) async fn end(&self, user: UserId, browser: &Browser) {
        let request = EndSubscription { actor: actor(user), endpoint: browser.endpoint().to_owned() };
        self.gateway.call(&request).await.unwrap();
    }

    /// Browsers that a user has subscribed with.
    pub(crate) async fn browsers<const N: usize>(&self, user: UserId) -> [Browser; N] {
        let browsers = std::array::from_fn(|_| self.service.browser());
        for browser in &browsers {
            self.subscribe(user, browser.subscription()).await.unwrap();
        }
        browsers
    }

    pub(crate) async fn push(&self, job: &PushJob, id: &str) {
        self.mail.publish(PUSH_SUBJECT, serde_json::to_vec(job).unwrap(), Some(id)).await;
    }

    /// Waits until no push is queued, now or for later.
    pub(crate) async fn settled(&self) {
        self.mail.wait_until_empty().await;
    }

    /// The subscriptions in the database, by endpoint.
    pub(crate) async fn stored(&self) -> Vec<Document> {
        use futures::TryStreamExt;
        let found = self.collection().await.find(doc! {}).sort(doc! { "createdAt": 1 }).await.unwrap();
        found.try_collect().await.unwrap()
    }

    pub(crate) async fn collection(&self) -> mongodb::Collection<Document> {
        self.mail.mongo.connect().await.collection("push_subscriptions")
    }

    /// Waits until so many pushes have had this outcome.
    pub(crate) async fn wait_for_outcome(&self, outcome: &str, count: u64) {
        let line = format!("natter_push_total{{outcome=\"{outcome}\"}} {count}");
        eventually(&line, DEADLINE, async || self.mail.metrics().await.contains(&line).then_some(())).await;
    }
}

pub(crate) fn actor(user_id: UserId) -> Actor {
    Actor { user_id, session_id: SessionId::new(), role: Role::User }
}

/// A push of today's kind, good for an hour.
pub(crate) fn job(user_id: UserId, text: &str) -> PushJob {
    PushJob {
        about: None,
        user_id,
        topic: Some(Topic::of_chat(ChatId::new())),
        ttl_seconds: 3_600,
        urgency: Urgency::High,
        payload: serde_json::value::to_raw_value(&json!({ "text": text })).unwrap(),
        expires_at: Time::now().plus(Duration::from_hours(1)),
        only: None,
    }
}

/// The payload of [`job`].
pub(crate) fn said(text: &str) -> String {
    json!({ "text": text }).to_string()
}
