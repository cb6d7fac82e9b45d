//! What a run has shown, as a table and as JSON.

use std::{collections::BTreeMap, fmt};

use anyhow::{Result, ensure};
use serde::Serialize;

use super::{
    book::Book,
    ledger::Answer,
    tally::{Counts, Tally},
};
use crate::{
    closed::Rate,
    latency::{self, Latencies, Times, Window, decimal},
    processes::Usages,
    refused::Refusals,
};

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Messages that were to be sent in the window.
    sent: u64,
    /// Messages acknowledged in the window, whenever they were sent, and the same per second.
    acknowledged: u64,
    pub sends_per_second: f64,
    /// Arrivals at all sockets, the senders' own among them, in the same way.
    delivered: u64,
    pub deliveries_per_second: f64,
    /// Other events that arrived in the window, by their names.
    other_events: BTreeMap<String, u64>,
    /// From when a message of the window was to be sent until its sender had the acknowledgement.
    acknowledged_after: Latencies,
    /// ... until each of the other sockets had it.
    delivered_after: Latencies,
    /// How much later than intended this program has sent: its own fault.
    pub sent_late: Latencies,
    /// How much later than due this program has come to look at anything, its own fault too.
    pub woken_late: Latencies,
    /// Acknowledged, but not at all sockets. This and what follows is of the whole run, warm-up and all.
    lost: u64,
    doubled: u64,
    out_of_order: u64,
    /// By error code; `no_answer` for none by 10 s after the last send.
    refused: Refusals,
    /// Why connections ended before the run did.
    disconnected: Vec<String>,
    /// CPU time in the window in microseconds for each acknowledged message and for each arrival, without this program's.
    pub cpu_per_message: Option<f64>,
    pub cpu_per_delivery: Option<f64>,
    /// The gateways' share of that.
    gateway_cpu_per_message: Option<f64>,
    pub gateway_cpu_per_delivery: Option<f64>,
    pub processes: Usages,
    /// The number of the last message that was seen of each chat.
    #[serde(skip)]
    last_seqs: Vec<u64>,
}

impl Outcome {
    pub(super) fn new(
        window: Window,
        book: &Book,
        tally: &Tally,
        disconnected: Vec<String>,
        processes: Usages,
        woken_late: &Times,
    ) -> Self {
        let (mut sent, mut lost, mut doubled, mut out_of_order) = (0, 0, 0, 0);
        let mut refused = Refusals::default();
        for chat in book.chats() {
            let ledger = chat.ledger();
            out_of_order += ledger.out_of_order;
            lost += ledger.lost() as u64;
            refused.add(&ledger.refused);
            for message in &ledger.messages {
                sent += u64::from(window.contains(message.intended));
                doubled += u64::from(message.doubled);
                if message.answer == Answer::Awaited {
                    refused.count("no_answer");
                }
            }
        }
        let Counts { acknowledged, delivered, others, acks, deliveries, lags } = &*tally.counts();
        let each = |seconds: Option<f64>, of: u64| Some(seconds? * 1_000_000.0 / decimal(of.max(1)));
        let (system, gateways) = (processes.system_cpu(), processes.gateway_cpu());
        Self {
            sent,
            acknowledged: *acknowledged,
            sends_per_second: decimal(*acknowledged) / window.seconds(),
            delivered: *delivered,
            deliveries_per_second: decimal(*delivered) / window.seconds(),
            other_events: others.clone(),
            acknowledged_after: acks.latencies(),
            delivered_after: deliveries.latencies(),
            sent_late: lags.latencies(),
            woken_late: woken_late.latencies(),
            lost,
            doubled,
            out_of_order,
            refused,
            disconnected,
            cpu_per_message: each(system, *acknowledged),
            cpu_per_delivery: each(system, *delivered),
            gateway_cpu_per_message: each(gateways, *acknowledged),
            gateway_cpu_per_delivery: each(gateways, *delivered),
            processes,
            last_seqs: book.chats().iter().map(|chat| chat.ledger().last_seq()).collect(),
        }
    }

    /// The number of the last message that was seen of each chat.
    pub fn last_seqs(&self) -> &[u64] {
        &self.last_seqs
    }

    /// Nothing was lost, doubled or out of order, and every connection lived to see it.
    pub fn is_sound(&self) -> bool {
        (self.lost, self.doubled, self.out_of_order, self.disconnected.len()) == (0, 0, 0, 0)
    }

    /// The arrivals as a rate.
    pub fn deliveries(&self) -> Rate {
        Rate {
            done: self.delivered,
            per_second: self.deliveries_per_second,
            took: self.delivered_after.clone(),
            unfinished: 0,
            refused: self.refused.clone(),
        }
    }

    /// The error is that there was nothing to measure.
    pub fn measured(self) -> Result<Self> {
        ensure!(self.acknowledged > 0, "no message was acknowledged: {self}");
        Ok(self)
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, acknowledged, lost, doubled, out_of_order, .. } = self;
        write!(f, "{:.0} sends/s ({sent} sent, {acknowledged} acknowledged in time), ", self.sends_per_second)?;
        writeln!(f, "{:.0} deliveries/s", self.deliveries_per_second)?;
        writeln!(f, "{}", latency::HEAD)?;
        writeln!(f, "{:<18}{}", "send -> ack", self.acknowledged_after)?;
        writeln!(f, "{:<18}{}", "send -> delivered", self.delivered_after)?;
        writeln!(f, "{:<18}{}", "sent late by", self.sent_late)?;
        writeln!(f, "{:<18}{}", "woken late by", self.woken_late)?;
        write!(f, "lost {lost}, doubled {doubled}, out of order {out_of_order}, refused {}", self.refused)?;
        if let Some(reason) = self.disconnected.first() {
            write!(f, "\n{} connections ended, the first because {reason}", self.disconnected.len())?;
        }
        self.other_events.iter().try_for_each(|(name, count)| write!(f, "\nalso arrived {count} {name}"))?;
        for (what, all, gateways) in [
            ("message", self.cpu_per_message, self.gateway_cpu_per_message),
            ("delivery", self.cpu_per_delivery, self.gateway_cpu_per_delivery),
        ] {
            if let (Some(all), Some(gateways)) = (all, gateways) {
                write!(f, "\nCPU per {what:<8} {all:>8.1} us, of it {gateways:.1} us in gateways")?;
            }
        }
        write!(f, "\n{}", self.processes)
    }
}
