//! Signing in with passwords, and whether messages are sent as fast beside it.

use std::{fmt, num::NonZeroU64, sync::Arc, time::Instant};

use anyhow::Result;
use clap::{Args, value_parser};
use reqwest::Client;
use serde::Serialize;
use serde_json::json;
use tokio::{runtime::Runtime, task::spawn_blocking};

use super::Sound;
use crate::{
    closed::{self, Rate},
    generator::Generator,
    latency::{self, Window},
    load::{self, Outcome, Room, Shape, Until},
    people::{self, Chat, PASSWORD},
    refused::Refused,
    rest,
    target::Target,
};

/// Direct chats in which is sent meanwhile.
const CHATS: u16 = 16;

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// People who register with a password, in turn at each of the gateways
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(16..))]
    people: u16,
    /// Logins that are waited for at a time; the next begins when one has ended
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Messages per second that are sent in direct chats, first by themselves, then beside the logins
    #[arg(long)]
    sends: Option<NonZeroU64>,
    /// Seconds that count
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=300))]
    seconds: u64,
    /// Seconds before them that do not count
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(..=120))]
    warm_up: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    logins: Rate,
    #[serde(skip_serializing_if = "Option::is_none")]
    sends: Option<Sends>,
}

/// The same load without logins and with them.
#[derive(Serialize)]
struct Sends {
    before: Outcome,
    beside: Outcome,
    generator: Generator,
}

pub async fn login(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let people = Arc::new(people::register(&system, options.people.into()).await?);
    let chats = people::open_chats(&system, &people, CHATS.into()).await?;
    let seats: Vec<_> = people.iter().map(|person| person.seat(&system)).collect();
    let send = async |last_seqs: &[u64], rate| {
        let room = |(Chat { id, members, .. }, last_seq): (&Chat, &u64)| Room {
            id: id.clone(),
            last_seq: *last_seq,
            sockets: members.clone(),
        };
        let rooms = chats.iter().zip(last_seqs).map(room).collect();
        load::run(&seats, rooms, options.shape(rate), &system.processes).await?.measured()
    };

    let new: Vec<_> = chats.iter().map(|chat| chat.last_seq).collect();
    let before = match options.sends {
        Some(rate) => Some(send(&new, rate).await?),
        None => None,
    };
    let window = Window::after(Instant::now(), options.warm_up, options.seconds);
    let (http, urls) = (Client::new(), Arc::new(system.gateways.clone()));
    let accounts = Arc::clone(&people);
    let logins = closed::run(options.in_flight.into(), window, move |place| {
        let (url, person) = (&urls[place % urls.len()], &accounts[place % accounts.len()]);
        let body = json!({ "email": person.email, "password": PASSWORD });
        let request = http.post(format!("{url}/api/auth/login")).json(&body);
        // Where there is no answer is a figure here, not the end.
        async { Ok(rest::ask(request).await.unwrap_or_else(|_| Err(Refused::new("failed", None))).map(|_| ())) }
    });
    // Threads of their own: thousands of logins should not keep us from noticing what becomes of messages.
    let logins = spawn_blocking(|| Runtime::new()?.block_on(logins));
    let sends = match (before, options.sends) {
        (Some(before), Some(rate)) => {
            let beside = send(before.last_seqs(), rate).await?;
            let generator = Generator::judge(&beside, None);
            Some(Sends { before, beside, generator })
        }
        _ => None,
    };
    Ok(Report { options: options.clone(), logins: logins.await??, sends })
}

impl Options {
    fn shape(&self, rate: NonZeroU64) -> Shape {
        let Self { seconds, warm_up, .. } = *self;
        Shape { in_flight: 1, until: Until::Acknowledged, rate: Some(rate), warm_up, seconds, text: 100 }
    }
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        self.sends.iter().all(|Sends { before, beside, .. }| before.is_sound() && beside.is_sound())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", latency::HEAD)?;
        write!(f, "{:<18}{}", "login", self.logins)?;
        write!(f, ", {} under way at the end", self.logins.unfinished)?;
        let Some(Sends { before, beside, generator }) = &self.sends else { return Ok(()) };
        write!(f, "\n\nsends before the logins\n{before}\n\nsends beside the logins\n{beside}\n{generator}")
    }
}
