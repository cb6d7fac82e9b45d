//! What no design can beat on this machine: the parts that Natter stands on, bare.

pub mod append;
pub mod broadcast;
pub mod insert;
pub mod least;
mod nats;
pub mod request;
pub mod server;

use std::{fmt, time::Duration};

use serde::Serialize;

use crate::{closed::Rate, latency};

/// Of each limit; only the latter count.
const WARM_UP: u64 = 1;
const SECONDS: u64 = 5;
/// A server that has been started is ready for it within this time.
const READY: Duration = Duration::from_secs(10);

/// A limit, measured before and after what it is the limit of.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Around {
    what: &'static str,
    before: Rate,
    after: Rate,
    /// How much of the mean of both was reached.
    ratio: f64,
}

impl Around {
    pub fn new(what: &'static str, before: Rate, after: Rate, reached: f64) -> Self {
        let ratio = 2.0 * reached / (before.per_second + after.per_second);
        Self { what, before, after, ratio }
    }
}

impl fmt::Display for Around {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, before, after, ratio } = self;
        writeln!(f, "limit: {what}, before and after\n{}", latency::HEAD)?;
        writeln!(f, "{:<18}{before}\n{:<18}{after}", "before", "after")?;
        write!(f, "ratio to the limit {ratio:.2}")
    }
}

/// Something else to hold against, measured before.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Beside {
    what: &'static str,
    rate: Rate,
    /// How much of it was reached.
    ratio: f64,
}

impl Beside {
    pub fn new(what: &'static str, rate: Rate, reached: f64) -> Self {
        let ratio = reached / rate.per_second;
        Self { what, rate, ratio }
    }
}

impl fmt::Display for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, rate, ratio } = self;
        writeln!(f, "beside: {what}\n{}", latency::HEAD)?;
        write!(f, "{:<18}{rate}\nratio {ratio:.2}", "before")
    }
}
