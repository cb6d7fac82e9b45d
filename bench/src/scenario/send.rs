//! Messages in direct chats, over sockets whose gateways differ.

use std::{fmt, num::NonZeroU64};

use anyhow::Result;
use clap::{Args, value_parser};
use contract::storage::CHAT_STREAMS;
use serde::Serialize;

use super::{Messages, Sound};
use crate::{
    generator::Generator,
    limit::{Around, Beside, append, broadcast, least},
    load::{self, Outcome, Room, Shape, Until},
    people,
    target::Target,
};

/// Seconds for which this program measures itself, and the least chat.
const ALONE: u64 = 3;
const LEAST: u64 = 6;

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// People who sign up, in turn at each of the gateways
    #[arg(long, default_value_t = 32, value_parser = value_parser!(u16).range(2..))]
    people: u16,
    /// Direct chats, each between two gateways; everybody is in one before somebody is in two
    #[arg(long, default_value_t = 16, value_parser = value_parser!(u16).range(1..))]
    chats: u16,
    /// Messages of each chat that await their acknowledgement at a time; the next is sent when one is acknowledged
    #[arg(long, default_value_t = 1, value_parser = value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Messages per second in all chats together, sent whether or not earlier ones are answered (then --in-flight says
    /// nothing); times are counted from when a message was to be sent
    #[arg(long)]
    rate: Option<NonZeroU64>,
    #[command(flatten)]
    #[serde(flatten)]
    messages: Messages,
    /// Leave out what is measured for comparison: bare appends to JetStream at the same concurrency, the least chat that the
    /// same parts make, and what this program itself manages
    #[arg(long)]
    no_limit: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    #[serde(flatten)]
    outcome: Outcome,
    generator: Generator,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Around>,
    /// What a log that is one stream would take at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    one_stream: Option<Beside>,
    #[serde(skip_serializing_if = "Option::is_none")]
    least: Option<least::Least>,
}

impl Options {
    fn shape(&self) -> Shape {
        self.messages.shape(self.in_flight, Until::Acknowledged, self.rate)
    }
}

/// Loads the system with messages and says what became of them. The error is that there was nothing to measure.
pub async fn send(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let people = people::sign_up(&system, options.people.into()).await?;
    let chats = people::open_chats(&system, &people, options.chats.into()).await?;
    let seats: Vec<_> = people.iter().map(|person| person.seat(&system)).collect();
    let room = |people::Chat { id, last_seq, members, .. }| Room { id, last_seq, sockets: members };
    let rooms: Vec<_> = chats.into_iter().map(room).collect();

    // An open loop has no rate of its own to compare.
    let Options { chats, in_flight, messages: Messages { text, .. }, .. } = *options;
    let append = append::Load { chats, streams: CHAT_STREAMS.len(), in_flight, text };
    let compared = !options.no_limit && options.rate.is_none();
    system.processes.come_to_rest().await;
    let before = if compared { Some(append::run(&system, append).await?) } else { None };
    let one_stream = append::Load { streams: 1, ..append };
    let one_stream = if compared { Some(append::run(&system, one_stream).await?) } else { None };
    // First of all this program by itself.
    let shape = Shape { warm_up: 1, seconds: ALONE, ..options.shape() };
    let alone = if compared { Some(broadcast::run(&rooms, seats.len(), shape).await?) } else { None };
    let shape = Shape { seconds: LEAST, ..options.shape() };
    let least = if compared { Some(least::run(&system, &seats, &rooms, shape).await?) } else { None };
    // After the chats: a socket is in all of them from its first moment.
    let outcome = load::run(&seats, rooms, options.shape(), &system.processes).await?.measured()?;
    let limit = match before {
        Some(before) => {
            system.processes.come_to_rest().await;
            let after = append::run(&system, append).await?;
            Some(Around::new("bare fenced appends to JetStream", before, after, outcome.sends_per_second))
        }
        None => None,
    };
    let generator = Generator::judge(&outcome, alone.as_ref());
    let one_stream =
        one_stream.map(|rate| Beside::new("the same to one stream of the log", rate, outcome.sends_per_second));
    let least = least.map(|least| least::Least::compared(&least, outcome.sends_per_second));
    Ok(Report { options: options.clone(), outcome, generator, limit, one_stream, least })
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        self.outcome.is_sound()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.outcome, self.generator)?;
        self.limit.iter().try_for_each(|limit| write!(f, "\n{limit}"))?;
        self.one_stream.iter().try_for_each(|one| write!(f, "\n{one}"))?;
        self.least.iter().try_for_each(|least| write!(f, "\n{least}"))
    }
}
