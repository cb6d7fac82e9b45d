//! What a run has shown, as a table and as JSON.

use std::{collections::BTreeMap, fmt, ops::Deref};

use serde::Serialize;

use crate::{
    latency::{self, Latencies, Times, Window, decimal},
    ledger::{Answer, Ledger},
    processes::Usages,
    scenario::send::Options,
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    options: Options,
    /// Messages that were to be sent in the window.
    sent: u64,
    /// Messages acknowledged in the window, whenever they were sent, and the same per second.
    acknowledged: u64,
    sends_per_second: f64,
    /// From when a message of the window was to be sent until its sender had the acknowledgement.
    acknowledged_after: Latencies,
    /// ... until the other member had it.
    delivered_after: Latencies,
    /// Acknowledged, but not at both members' sockets. This and what follows is of the whole run, warm-up and all.
    lost: u64,
    doubled: u64,
    out_of_order: u64,
    /// By error code; `no_answer` for none by 10 s after the last send.
    refused: BTreeMap<String, u64>,
    /// Why connections ended before the run did.
    disconnected: Vec<String>,
    /// CPU microseconds of the system, without this program, for each acknowledged message.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_per_message: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_cpu_per_message: Option<f64>,
    processes: Usages,
}

impl Report {
    pub fn new(
        options: Options,
        window: Window,
        ledgers: impl Iterator<Item = impl Deref<Target = Ledger>>,
        disconnected: Vec<String>,
        processes: Usages,
    ) -> Self {
        let (mut sent, mut acknowledged, mut lost, mut doubled, mut out_of_order) = (0, 0, 0, 0, 0);
        let (mut acks, mut deliveries) = (Times::default(), Times::default());
        let mut refused = BTreeMap::new();
        for ledger in ledgers {
            out_of_order += ledger.out_of_order;
            for (code, count) in &ledger.refused {
                *refused.entry(code.clone()).or_default() += count;
            }
            for message in &ledger.messages {
                let in_window = window.contains(message.intended);
                sent += u64::from(in_window);
                lost += u64::from(message.is_lost());
                doubled += u64::from(message.doubled);
                match message.answer {
                    Answer::Accepted(at) => {
                        acknowledged += u64::from(window.contains(at));
                        if in_window {
                            acks.record(at - message.intended);
                        }
                    }
                    Answer::Awaited => *refused.entry("no_answer".to_owned()).or_default() += 1,
                    Answer::Refused => {}
                }
                if let (true, Some(at)) = (in_window, message.delivered()) {
                    deliveries.record(at - message.intended);
                }
            }
        }
        let per_message = |seconds: Option<f64>| seconds.map(|seconds| seconds * 1_000_000.0 / decimal(acknowledged));
        Self {
            options,
            sent,
            acknowledged,
            sends_per_second: decimal(acknowledged) / window.seconds(),
            acknowledged_after: acks.latencies(),
            delivered_after: deliveries.latencies(),
            lost,
            doubled,
            out_of_order,
            refused,
            disconnected,
            cpu_per_message: per_message(processes.system_cpu()),
            gateway_cpu_per_message: per_message(processes.gateway_cpu()),
            processes,
        }
    }

    /// Nothing was lost, doubled or out of order, and every connection lived to see it.
    pub fn is_sound(&self) -> bool {
        (self.lost, self.doubled, self.out_of_order, self.disconnected.len()) == (0, 0, 0, 0)
    }

    pub fn has_acknowledged(&self) -> bool {
        self.acknowledged > 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acknowledged, sends_per_second, lost, doubled, out_of_order, .. } = self;
        writeln!(f, "{sends_per_second:.0} sends/s ({sent} sent, {acknowledged} acknowledged in time)")?;
        writeln!(f, "{}", latency::HEAD)?;
        for (name, latencies) in
            [("send -> ack", &self.acknowledged_after), ("send -> delivered", &self.delivered_after)]
        {
            writeln!(f, "{name:<18}{latencies}")?;
        }
        write!(f, "lost {lost}, doubled {doubled}, out of order {out_of_order}, refused ")?;
        let refused: Vec<_> = self.refused.iter().map(|(code, count)| format!("{count} {code}")).collect();
        f.write_str(&if refused.is_empty() { "0".to_owned() } else { refused.join(", ") })?;
        if let Some(reason) = self.disconnected.first() {
            write!(f, "\n{} connections ended, the first because {reason}", self.disconnected.len())?;
        }
        if let (Some(all), Some(gateways)) = (self.cpu_per_message, self.gateway_cpu_per_message) {
            write!(f, "\nCPU per message {all:.0} us without this program's, {gateways:.0} us of it the gateways'")?;
        }
        write!(f, "\n{}", self.processes)
    }
}
