//! People who are connected and do nothing: what their presence costs NATS.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::{Args, value_parser};
use futures::{StreamExt, TryStreamExt, future::join_all, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::{task::JoinHandle, time::sleep};

use super::Sound;
use crate::{
    client::{self, Packet, Sender},
    limit::server::Server,
    load::Seat,
    people,
    processes::Usages,
    target::{System, Target},
};

/// Connections made at a time.
const AT_A_TIME: usize = 16;
/// Sessions are in the bucket, and what follows from them has been said, so long after the last connection.
const SETTLED: Duration = Duration::from_secs(5);
/// The stream under the bucket of leases, sessions and views.
const PRESENCE: &str = "KV_PRESENCE";

#[derive(Args, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Options {
    #[command(flatten)]
    #[serde(flatten)]
    target: Target,
    /// People who sign up and connect, in turn at each of the gateways
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u16).range(1..))]
    people: u16,
    /// Leave out what a socket takes in a server of nothing but socketioxide
    #[arg(long)]
    no_limit: bool,
    /// Seconds that are looked at
    #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    /// Seconds until all were connected.
    connecting: f64,
    /// Writes to the bucket `PRESENCE` while they connected and came to be seen.
    presence_writes_connecting: u64,
    /// The same per second while they were idle.
    presence_writes_per_second: f64,
    /// Messages that all clients of NATS sent and got per second while they were idle.
    nats_in_per_second: f64,
    nats_out_per_second: f64,
    gateways: usize,
    /// KiB that the gateways grew by for each socket while all connected; meant for gateways that have just been started,
    /// as others may have room left from before.
    rss_per_socket: Option<f64>,
    /// The same of a server of nothing but socketioxide.
    #[serde(skip_serializing_if = "Option::is_none")]
    bare_rss_per_socket: Option<f64>,
    /// While they connected, and while they were idle.
    processes_connecting: Usages,
    processes: Usages,
    /// Why connections ended before the run did.
    disconnected: Vec<String>,
}

/// What NATS has counted.
struct Counts {
    messages_in: u64,
    messages_out: u64,
    presence_writes: u64,
}

/// Ends with its sender.
type Connections = (Vec<Sender>, Vec<JoinHandle<Result<()>>>);

/// Connects people and looks at NATS while they do nothing.
pub async fn idle(options: &Options) -> Result<Report> {
    let system = options.target.find()?;
    let people = people::sign_up(&system, options.people.into()).await?;
    let (before, processes) = (Counts::read(&system).await?, system.processes.look());
    let started = Instant::now();
    let seats = people.iter().map(|person| person.seat(&system)).collect();
    let (senders, ends) = connect(seats).await?;
    let connecting = started.elapsed().as_secs_f64();

    sleep(SETTLED).await;
    let (from, processes_connecting) = (Counts::read(&system).await?, system.processes.since(&processes));
    let processes = system.processes.look();
    sleep(Duration::from_secs(options.seconds)).await;
    let (to, processes) = (Counts::read(&system).await?, system.processes.since(&processes));

    drop(senders);
    let ends = join_all(ends).await.into_iter();
    let ended = ends.filter_map(|end| end.map_err(anyhow::Error::from).flatten().err());
    let per_second = |from: u64, to: u64| f64::from(u32::try_from(to - from).unwrap_or(u32::MAX)) / seconds(options);
    Ok(Report {
        options: options.clone(),
        connecting,
        presence_writes_connecting: from.presence_writes - before.presence_writes,
        presence_writes_per_second: per_second(from.presence_writes, to.presence_writes),
        nats_in_per_second: per_second(from.messages_in, to.messages_in),
        nats_out_per_second: per_second(from.messages_out, to.messages_out),
        gateways: system.gateways.len(),
        rss_per_socket: per_socket(&processes_connecting, options.people),
        bare_rss_per_socket: if options.no_limit { None } else { bare(options.people).await? },
        processes_connecting,
        processes,
        disconnected: ended.map(|reason| format!("{reason:#}")).collect(),
    })
}

async fn connect(seats: Vec<Seat>) -> Result<Connections> {
    let connect = async |Seat { gateway, token }: Seat| {
        client::connect_patiently(&gateway, &token, || |_: Packet<'_>, _| Ok(()), |_| ()).await
    };
    let connections = stream::iter(seats).map(connect).buffer_unordered(AT_A_TIME).try_collect::<Vec<_>>().await?;
    Ok(connections.into_iter().unzip())
}

/// KiB that so many sockets take each in a server of nothing but socketioxide.
async fn bare(sockets: u16) -> Result<Option<f64>> {
    let server = Server::start().await?;
    let (processes, seat) = (server.processes(), Seat { gateway: server.url.clone(), token: "bench".to_owned() });
    let before = processes.look();
    let connections = connect(vec![seat; sockets.into()]).await?;
    sleep(SETTLED).await;
    let usages = processes.since(&before);
    drop(connections);
    Ok(per_socket(&usages, sockets))
}

fn per_socket(usages: &Usages, sockets: u16) -> Option<f64> {
    Some(usages.gateway_growth()? * 1024.0 / f64::from(sockets))
}

fn seconds(options: &Options) -> f64 {
    Duration::from_secs(options.seconds).as_secs_f64()
}

impl Counts {
    async fn read(system: &System) -> Result<Self> {
        let (server, streams) = (system.ask_nats("varz").await?, system.ask_nats("jsz?streams=true").await?);
        let stream = streams["account_details"].as_array().into_iter().flatten();
        let mut stream = stream.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
        let presence = stream.find(|stream| stream["name"] == PRESENCE).context("there is no bucket PRESENCE")?;
        let number = |value: &Value| value.as_u64().context("not a number");
        Ok(Self {
            messages_in: number(&server["in_msgs"])?,
            messages_out: number(&server["out_msgs"])?,
            presence_writes: number(&presence["state"]["last_seq"])?,
        })
    }
}

impl Sound for Report {
    fn is_sound(&self) -> bool {
        self.disconnected.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { people, seconds, .. } = &self.options;
        writeln!(f, "{people} people at {} gateways, idle for {seconds} s", self.gateways)?;
        writeln!(f, "connected in {:.1} s", self.connecting)?;
        writeln!(f, "presence writes while connecting: {}", self.presence_writes_connecting)?;
        writeln!(f, "presence writes/s while idle:     {:.2}", self.presence_writes_per_second)?;
        writeln!(
            f,
            "NATS messages/s while idle:       {:.1} in, {:.1} out",
            self.nats_in_per_second, self.nats_out_per_second
        )?;
        if let Some(rss) = self.rss_per_socket {
            writeln!(f, "KiB per socket in the gateways:   {rss:.1}")?;
        }
        if let Some(rss) = self.bare_rss_per_socket {
            writeln!(f, "KiB per socket of socketioxide:   {rss:.1}")?;
        }
        write!(f, "connections that ended early:     {}", self.disconnected.len())?;
        self.disconnected.iter().take(3).try_for_each(|reason| write!(f, "\n  {reason}"))?;
        write!(f, "\nwhile connecting\n{}\nwhile idle\n{}", self.processes_connecting, self.processes)
    }
}
