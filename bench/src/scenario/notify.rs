//! One group whose members are not looking: how fast a message becomes a notification of each of them.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::{Args, value_parser};
use reqwest::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::Sound;
use crate::{
    people::{self, Person},
    processes::Usages,
    rest,
    target::Target,
};

/// All members have all notifications within this, or something is lost.
const DEADLINE: Duration = Duration::from_mins(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Members who are looked at.
const SAMPLE: usize = 20;

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// Members of the group, all but one of whom are to be told
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u16).range(2..=1_000))]
    people: u16,
    /// Messages, sent one after the other
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u16).range(1..))]
    messages: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    /// Seconds until the first message was a notification of all who are looked at.
    first: f64,
    /// Seconds from the first send until all were told of the last message.
    all: f64,
    notifications_per_second: f64,
    processes: Usages,
}

/// Sends into a group and waits until everybody is told.
pub async fn notify(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let people = people::sign_up(&system, options.people.into()).await?;
    let (http, url) = (Client::new(), &system.gateways[0]);
    let chat = people::open_group(&system, &people, (0..people.len()).collect()).await?;
    let chat = chat.id.as_str();
    let step = (people.len() / SAMPLE).max(1);
    let sample: Vec<&Person> = people[1..].iter().rev().step_by(step).collect();
    // Everybody knows of the group before the clock starts.
    wait(&http, url, &sample, chat, "added", 1).await?;

    let (started, processes) = (Instant::now(), system.processes.look());
    let mut first = 0.0;
    for number in 1..=options.messages {
        let message = json!({ "chatId": chat, "clientId": number.to_string(), "text": format!("message {number}") });
        let _: Value = rest::post(&http, &format!("{url}/api/messages"), Some(&people[0].token), &message).await?;
        if number == 1 {
            wait(&http, url, &sample, chat, "message", 1).await?;
            first = started.elapsed().as_secs_f64();
        }
    }
    wait(&http, url, &sample, chat, "message", options.messages.into()).await?;
    let all = started.elapsed().as_secs_f64();
    let told = f64::from(options.messages) * f64::from(options.people - 1);
    let processes = system.processes.since(&processes);
    Ok(Report { options: options.clone(), first, all, notifications_per_second: told / all, processes })
}

/// Waits until each of these has a notification of this type about so many messages.
async fn wait(http: &Client, url: &str, people: &[&Person], chat: &str, kind: &str, count: u64) -> Result<()> {
    let started = Instant::now();
    for person in people {
        loop {
            let request = http.get(format!("{url}/api/notifications?unread=true")).bearer_auth(&person.token);
            let page: Value = serde_json::from_slice(&request.send().await?.error_for_status()?.bytes().await?)?;
            let mut all = page["notifications"].as_array().into_iter().flatten();
            if all.any(|one| one["chatId"] == chat && one["type"] == kind && one["count"] == count) {
                break;
            }
            ensure!(started.elapsed() < DEADLINE, "somebody is not told of {count} {kind}: {page}");
            sleep(LOOK_AGAIN).await;
        }
    }
    Ok(())
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        true
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { people, messages, .. } = &self.options;
        writeln!(f, "{messages} messages to a group of {people}, nobody connected")?;
        writeln!(f, "the first was known to all after:  {:.2} s", self.first)?;
        writeln!(f, "the last was known to all after:   {:.2} s", self.all)?;
        writeln!(f, "notifications/s:                   {:.0}", self.notifications_per_second)?;
        write!(f, "{}", self.processes)
    }
}
