//! Messages in one group of many sockets, and what a delivery costs as there are more of them.

use std::{fmt, num::NonZeroU64};

use anyhow::Result;
use clap::{Args, value_parser};
use serde::Serialize;

use super::{Messages, Sound};
use crate::{
    generator::Generator,
    limit::{Around, broadcast},
    load::{self, Outcome, Room, Shape, Until},
    people::{self, Person},
    target::{System, Target},
};

/// Most members of a group.
const MEMBERS: usize = 1_000;
/// Seconds of each run of the limit.
const LIMIT_SECONDS: u64 = 5;

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// Sockets in the group; with several numbers, separated by commas, one group after the other. A group has at most
    /// 1,000 members: beyond, each of them has several sockets, as of several devices
    #[arg(long, value_delimiter = ',', default_value = "1000", value_parser = value_parser!(u16).range(2..=20_000))]
    sockets: Vec<u16>,
    /// Messages under way at a time; the next is sent when one has arrived at all sockets
    #[arg(long, default_value_t = 4, value_parser = value_parser!(u16).range(1..))]
    in_flight: u16,
    /// Deliveries per second in place of that: so many messages that with all sockets it makes about as many, sent
    /// whatever becomes of them
    #[arg(long)]
    deliveries: Option<NonZeroU64>,
    #[command(flatten)]
    #[serde(flatten)]
    messages: Messages,
    /// Leave out what is measured before and after for the ratio: the same load on a server that only broadcasts
    #[arg(long)]
    no_limit: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    groups: Vec<Group>,
    /// How much more CPU time a delivery takes in the last group than in the first, as a factor: of the whole system, and
    /// of the gateways alone.
    cpu_growth: Option<f64>,
    gateway_cpu_growth: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    sockets: usize,
    members: usize,
    #[serde(flatten)]
    outcome: Outcome,
    generator: Generator,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limit {
    #[serde(flatten)]
    deliveries: Around,
    /// CPU microseconds that a delivery takes there, before and after.
    cpu_per_delivery: [Option<f64>; 2],
    /// Cores that this program kept busy there: if it is more than the rest, the limit is its own.
    generator_cores: [Option<f64>; 2],
}

pub async fn group(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let most = options.sockets.iter().copied().map(usize::from).max().unwrap_or_default();
    let people = people::sign_up(&system, most.min(MEMBERS)).await?;
    let mut groups = Vec::new();
    for sockets in options.sockets.iter().copied().map(usize::from) {
        groups.push(Group::measure(options, &system, &people, sockets).await?);
    }
    let growth = |cost: fn(&Outcome) -> Option<f64>| {
        let [first, .., last] = groups.as_slice() else { return None };
        Some(cost(&last.outcome)? / cost(&first.outcome)?)
    };
    let (cpu_growth, gateway_cpu_growth) =
        (growth(|outcome| outcome.cpu_per_delivery), growth(|outcome| outcome.gateway_cpu_per_delivery));
    Ok(Report { options: options.clone(), groups, cpu_growth, gateway_cpu_growth })
}

impl Group {
    async fn measure(options: &Options, system: &System, people: &[Person], sockets: usize) -> Result<Self> {
        let members = sockets.min(MEMBERS);
        let chat = people::open_group(system, people, (0..members).collect()).await?;
        // Of several devices the first ones of all come first.
        let seats: Vec<_> = people[..members].iter().cycle().take(sockets).map(|person| person.seat(system)).collect();
        let room = Room { id: chat.id, last_seq: chat.last_seq, sockets: (0..sockets).collect() };
        let shape = options.shape(sockets);
        let limit = Shape { seconds: LIMIT_SECONDS, warm_up: 1, ..shape };
        let limit = async || {
            system.processes.come_to_rest().await;
            let limited = if options.no_limit {
                None
            } else {
                Some(broadcast::run(std::slice::from_ref(&room), sockets, limit).await?)
            };
            anyhow::Ok(limited)
        };

        let before = limit().await?;
        let outcome = load::run(&seats, vec![room.clone()], shape, &system.processes).await?.measured()?;
        let after = limit().await?;
        // The broadcast is what no system should be far from, so that being near it says nothing about this program.
        let generator = Generator::judge(&outcome, None);
        let limit = before.zip(after).map(|(before, after)| Limit {
            cpu_per_delivery: [&before, &after].map(|bare| bare.gateway_cpu_per_delivery),
            generator_cores: [&before, &after].map(|bare| bare.processes.generator_cores()),
            deliveries: Around::new(
                "a bare broadcast of socketioxide",
                before.deliveries(),
                after.deliveries(),
                outcome.deliveries_per_second,
            ),
        });
        Ok(Self { sockets, members, outcome, generator, limit })
    }
}

impl Options {
    fn shape(&self, sockets: usize) -> Shape {
        let Self { in_flight, deliveries, .. } = *self;
        let rate = deliveries.map(|deliveries| deliveries.get() / sockets as u64);
        let rate = rate.map(|rate| NonZeroU64::new(rate).unwrap_or(NonZeroU64::MIN));
        self.messages.shape(in_flight, Until::Delivered, rate)
    }
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        self.groups.iter().all(|group| group.outcome.is_sound())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Group { sockets, members, outcome, generator, limit }) in self.groups.iter().enumerate() {
            let distance = if index > 0 { "\n\n" } else { "" };
            write!(f, "{distance}{sockets} sockets of {members} members\n{outcome}\n{generator}")?;
            limit.iter().try_for_each(|limit| write!(f, "\n{limit}"))?;
        }
        if let (Some(all), Some(gateways)) = (self.cpu_growth, self.gateway_cpu_growth) {
            write!(f, "\n\nCPU per delivery, last to first: {all:.2}, of gateways alone {gateways:.2}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.deliveries)?;
        if let [Some(before), Some(after)] = self.cpu_per_delivery {
            write!(f, "\nCPU per delivery there {before:.1} us and {after:.1} us")?;
        }
        if let [Some(before), Some(after)] = self.generator_cores {
            write!(f, "; this program kept {before:.2} and {after:.2} cores busy there")?;
        }
        Ok(())
    }
}
