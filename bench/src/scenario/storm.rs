//! A reconnect storm: all clients are cut at once, messages are sent, all connect again at once and catch up.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use clap::{Args, value_parser};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::{task::JoinSet, time::sleep};

use super::Sound;
use crate::{
    follow::{Faults, Follower},
    latency::{self, Latencies, Times},
    people::{self, Chat, Person},
    processes::Usages,
    refused::Refusals,
    target::{System, Target},
};

/// Connections made, and messages sent, at a time when it does not count.
const AT_A_TIME: usize = 16;
/// All clients have what was sent at the end so long after it, or it is missing.
const DRAIN: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// Clients, in turn of each of the people
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u16).range(2..=20_000))]
    clients: u16,
    /// People who sign up
    #[arg(long, default_value_t = 1_000, value_parser = value_parser!(u16).range(2..))]
    people: u16,
    /// Members of each group; everybody is in one
    #[arg(long, default_value_t = 50, value_parser = value_parser!(u16).range(2..=1_000))]
    group: u16,
    /// Messages to each group while all are away
    #[arg(long, default_value_t = 10, value_parser = value_parser!(u16).range(1..))]
    missed: u16,
    /// Messages to each group while they come back
    #[arg(long, default_value_t = 5)]
    meanwhile: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    groups: usize,
    /// Seconds until the last one was connected, and had caught up.
    connected: f64,
    caught_up: f64,
    /// From the moment they were all let go until each was connected, and had caught up.
    connected_after: Latencies,
    caught_up_after: Latencies,
    /// What messages took over REST that were sent meanwhile.
    sent_meanwhile: Latencies,
    /// By error code, while connecting and while catching up. All were obeyed.
    refused: Refusals,
    /// Clients that did not come back, and why.
    not_back: Vec<String>,
    #[serde(flatten)]
    faults: Faults,
    /// During the storm.
    processes: Usages,
}

/// A group, and the number of its last message that was accepted.
struct Group {
    chat: Chat,
    last: Mutex<u64>,
}

pub async fn storm(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let people = Arc::new(people::sign_up(&system, options.people.into()).await?);
    let groups = Arc::new(open_groups(&system, &people, options.group.into()).await?);
    let followers: Vec<_> = (0..options.clients.into())
        .map(|client| {
            let person = client % people.len();
            let chat = &groups[group_of(person, options, groups.len())].chat;
            Arc::new(Follower::new(people[person].seat(&system), [(chat.id.as_str(), chat.cursor)]))
        })
        .collect();
    let calm = |follower: Arc<Follower>| async move {
        follower.connect(|_| ()).await?;
        follower.catch_up(|_| ()).await
    };
    stream::iter(followers.iter().cloned()).map(calm).buffer_unordered(AT_A_TIME).try_collect::<()>().await?;

    for follower in &followers {
        follower.cut();
    }
    send(&system, &people, &groups, options.missed).await?;
    let (processes, started) = (system.processes.look(), Instant::now());
    let meanwhile = tokio::spawn({
        let (system, people, groups) = (system.clone(), Arc::clone(&people), Arc::clone(&groups));
        let count = options.meanwhile;
        async move { send(&system, &people, &groups, count).await }
    });
    let (times, refused, not_back) = come_back(&followers, started).await;
    let (connected, caught_up) = (times.0.latencies(), times.1.latencies());
    let processes = system.processes.since(&processes);
    let sent_meanwhile = meanwhile.await??.latencies();

    // Who is back hears what is said from now on.
    send(&system, &people, &groups, 1).await?;
    let faults = settle(&followers, options, &groups, people.len()).await;
    Ok(Report {
        options: options.clone(),
        groups: groups.len(),
        connected: connected.max / 1_000.0,
        caught_up: caught_up.max / 1_000.0,
        connected_after: connected,
        caught_up_after: caught_up,
        sent_meanwhile,
        refused,
        not_back,
        faults,
        processes,
    })
}

/// Which group a person is in; who is left over is in the last one.
fn group_of(person: usize, options: &Options, groups: usize) -> usize {
    (person / usize::from(options.group)).min(groups - 1)
}

async fn open_groups(system: &System, people: &[Person], size: usize) -> Result<Vec<Group>> {
    let count = (people.len() / size).max(1);
    let open = async |group: usize| {
        let end = if group + 1 == count { people.len() } else { (group + 1) * size };
        let chat = people::open_group(system, people, (group * size..end).collect()).await?;
        let last = Mutex::new(chat.last_seq);
        anyhow::Ok(Group { chat, last })
    };
    ensure!(people.len() - (count - 1) * size <= 1_000, "a group has at most 1,000 members");
    stream::iter(0..count).map(open).buffered(AT_A_TIME).try_collect().await
}

/// Sends so many messages to each group over REST, by its members in turn.
async fn send(system: &System, people: &[Person], groups: &[Group], count: u16) -> Result<Times> {
    let send = async |group: &Group| {
        let (times, sent) = people::write(system, people, &group.chat, count).await?;
        let mut last = group.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = sent.max(*last);
        anyhow::Ok(times)
    };
    let all: Vec<Times> = stream::iter(groups).map(send).buffer_unordered(AT_A_TIME).try_collect().await?;
    let mut times = Times::default();
    for one in &all {
        times.add(one);
    }
    Ok(times)
}

type Back = ((Times, Times), Refusals, Vec<String>);

/// Lets all of them go at once; answers when they were connected, and had caught up.
async fn come_back(followers: &[Arc<Follower>], started: Instant) -> Back {
    let refusals = Arc::new(Mutex::new(Refusals::default()));
    let mut coming = JoinSet::new();
    for follower in followers {
        let (follower, refusals) = (Arc::clone(follower), Arc::clone(&refusals));
        coming.spawn(async move {
            let count = |code: &str| refusals.lock().unwrap_or_else(PoisonError::into_inner).count(code);
            follower.connect(count).await?;
            let connected = started.elapsed();
            follower.catch_up(count).await?;
            anyhow::Ok((connected, started.elapsed()))
        });
    }
    let (mut times, mut not_back) = ((Times::default(), Times::default()), Vec::new());
    while let Some(back) = coming.join_next().await {
        match back.map_err(anyhow::Error::from).flatten() {
            Ok((connected, caught_up)) => {
                times.0.record(connected);
                times.1.record(caught_up);
            }
            Err(error) => not_back.push(format!("{error:#}")),
        }
    }
    let refusals = std::mem::take(&mut *refusals.lock().unwrap_or_else(PoisonError::into_inner));
    (times, refusals, not_back)
}

/// Waits until all know everything, or for [`DRAIN`], and counts what is wrong then.
async fn settle(followers: &[Arc<Follower>], options: &Options, groups: &[Group], people: usize) -> Faults {
    let end = Instant::now() + DRAIN;
    loop {
        let mut faults = Faults::default();
        for (client, follower) in followers.iter().enumerate() {
            let Group { chat, last } = &groups[group_of(client % people, options, groups.len())];
            let last = *last.lock().unwrap_or_else(PoisonError::into_inner);
            follower.inbox(|inbox| {
                faults.count(inbox.seqs(&chat.id), chat.last_seq, last);
                faults.gaps += inbox.gaps;
            });
        }
        if faults.none() || Instant::now() > end {
            return faults;
        }
        sleep(LOOK_AGAIN).await;
    }
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        self.faults.none() && self.not_back.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { clients, people, missed, meanwhile, .. } = &self.options;
        writeln!(f, "{clients} clients of {people} people in {} groups; {missed} messages to each", self.groups)?;
        writeln!(f, "while all were away, {meanwhile} while they came back")?;
        writeln!(f, "all connected after {:.1} s, all caught up after {:.1} s", self.connected, self.caught_up)?;
        writeln!(f, "{}", latency::HEAD)?;
        writeln!(f, "{:<18}{}", "connected", self.connected_after)?;
        writeln!(f, "{:<18}{}", "caught up", self.caught_up_after)?;
        writeln!(f, "{:<18}{}", "sent meanwhile", self.sent_meanwhile)?;
        let Faults { missed, doubled, out_of_order, gaps } = self.faults;
        write!(f, "missed {missed}, doubled {doubled}, out of order {out_of_order}, gaps {gaps}, refused ")?;
        write!(f, "{}", self.refused)?;
        if let Some(reason) = self.not_back.first() {
            write!(f, "\n{} did not come back, the first because {reason}", self.not_back.len())?;
        }
        write!(f, "\nduring the storm\n{}", self.processes)
    }
}
