//! Somebody who is in a chat and never there: their browser is closed, with a subscription to pushes.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{
    Session, System,
    push::{Browser, PushService},
    rest::Rest,
};

use crate::history;

/// One click ends these letters (RFC 8058), and no others have that.
const DIGEST: &str = "List-Unsubscribe-Post";

/// Who is away.
pub struct Absent {
    pub session: Session,
    browser: Browser,
}

impl Absent {
    /// Signs up, subscribes to pushes, and goes.
    pub async fn sign_up(system: &System, service: &PushService) -> Self {
        let session = system.sign_up("absent@example.org").await;
        let browser = service.browser();
        let rest = Rest::new(system.gateway(0).url()).with_token(&session.access_token);
        let subscribed = rest.post("/api/push/subscriptions", browser.subscription()).await;
        assert!([201, 204].contains(&subscribed.status), "{subscribed:?}");
        Self { session, browser }
    }

    /// What has reached them.
    pub fn observe(&self, system: &System, service: &PushService) -> history::Absent {
        let waiting = service.waiting(&self.browser);
        let about = |payload: &str| {
            let pushed: Value = serde_json::from_str(payload).ok()?;
            // Being added to a group is a notification, too, but of no message.
            (pushed["type"] != "added").then_some(())?;
            Some((pushed["chatId"].as_str()?.to_owned(), pushed["seq"].as_u64()?))
        };
        let pushed: BTreeMap<String, u64> = waiting.iter().filter_map(|message| about(&message.payload)).collect();
        let letters = digests(system, &self.session.email);
        history::Absent { user: self.session.user_id.clone(), pushed, letters: letters.into_iter().collect() }
    }
}

fn digests(system: &System, email: &str) -> Vec<String> {
    let name = |letter: &String| {
        letter.lines().find_map(|line| line.strip_prefix("Message-ID: ")).unwrap_or("no Message-ID").to_owned()
    };
    system.letters(email).iter().filter(|letter| letter.contains(DIGEST)).map(name).collect()
}
