//! Reading: the newest messages of a chat, older ones, the list of one's chats.

use std::{fmt, sync::Arc, time::Instant};

use anyhow::{Result, bail};
use clap::{Args, value_parser};
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Client;
use serde::Serialize;

use super::Sound;
use crate::{
    closed::{self, Rate},
    latency::{self, Window},
    people::{self, Chat, Person},
    processes::Usages,
    rest,
    target::{System, Target},
};

/// Chats that are written into at a time, before anything is measured.
const AT_A_TIME: usize = 16;
/// Messages of a page.
const PAGE: u64 = 50;

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// People who sign up, in turn at each of the gateways
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u16).range(2..))]
    people: u16,
    /// Direct chats, each between two gateways
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u16).range(1..))]
    chats: u16,
    /// Messages that each has before anything is read
    #[arg(long, default_value_t = 500, value_parser = value_parser!(u16).range(100..))]
    messages: u16,
    /// Requests that are waited for at a time
    #[arg(long, default_value_t = 8, value_parser = value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Seconds that count, of each kind of request
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u64).range(1..=200))]
    seconds: u64,
    /// Seconds before them that do not count
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u64).range(..=120))]
    warm_up: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    /// The newest 50 messages of a chat.
    newest: Rate,
    /// 50 messages before some message.
    older: Rate,
    /// A person's chats.
    chats: Rate,
    /// Over all of them, warm-ups and all.
    processes: Usages,
}

#[derive(Clone, Copy)]
enum Read {
    Newest,
    Older,
    Chats,
}

struct Library {
    system: System,
    people: Vec<Person>,
    chats: Vec<(Chat, u64)>,
    http: Client,
}

pub async fn history(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let people = people::sign_up(&system, options.people.into()).await?;
    let chats = people::open_chats(&system, &people, options.chats.into()).await?;
    let write = async |chat: Chat| {
        let (_, last) = people::write(&system, &people, &chat, options.messages).await?;
        anyhow::Ok((chat, last))
    };
    let chats = stream::iter(chats).map(write).buffered(AT_A_TIME).try_collect().await?;

    let library = Arc::new(Library { system: system.clone(), people, chats, http: Client::new() });
    let processes = system.processes.look();
    let newest = library.read(options, Read::Newest).await?;
    let older = library.read(options, Read::Older).await?;
    let chats = library.read(options, Read::Chats).await?;
    Ok(Report { options: options.clone(), newest, older, chats, processes: system.processes.since(&processes) })
}

impl Library {
    async fn read(self: &Arc<Self>, options: &Options, what: Read) -> Result<Rate> {
        let window = Window::after(Instant::now(), options.warm_up, options.seconds);
        let library = Arc::clone(self);
        let rate = closed::run(options.in_flight.into(), window, move |_| {
            let library = Arc::clone(&library);
            async move { library.ask(what).await }
        });
        rate.await?.measured()
    }

    /// One request about any of the chats.
    async fn ask(&self, what: Read) -> Result<Result<(), crate::refused::Refused>> {
        let (chat, last) = &self.chats[rand::random_range(0..self.chats.len())];
        let person = &self.people[chat.members[rand::random_range(0..chat.members.len())]];
        let (gateway, id) = (&self.system.gateways[person.gateway], &chat.id);
        let url = match what {
            Read::Newest => format!("{gateway}/api/messages/{id}?limit={PAGE}"),
            Read::Older => {
                let before = rand::random_range(PAGE + 1..=*last);
                format!("{gateway}/api/messages/{id}?limit={PAGE}&before={before}")
            }
            Read::Chats => format!("{gateway}/api/chats?limit={PAGE}"),
        };
        match rest::ask(self.http.get(url).bearer_auth(&person.token)).await? {
            Ok(page) if page.len() < 100 => bail!("an empty page: {}", String::from_utf8_lossy(&page)),
            Ok(_) => Ok(Ok(())),
            Err(refused) => Ok(Err(refused)),
        }
    }
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        true
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { options, newest, older, chats, processes } = self;
        let Options { chats: count, messages, .. } = options;
        writeln!(f, "{count} chats of {messages} messages\n{}", latency::HEAD)?;
        writeln!(f, "{:<18}{newest}\n{:<18}{older}\n{:<18}{chats}", "newest 50", "older 50", "list of chats")?;
        write!(f, "{processes}")
    }
}
