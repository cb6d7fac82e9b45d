//! What load there is to choose from.

pub mod day;
pub mod group;
pub mod history;
pub mod idle;
pub mod limit;
pub mod login;
pub mod notify;
pub mod send;
pub mod storm;

use std::num::NonZeroU64;

use clap::{Args, value_parser};
use serde::Serialize;

use crate::load::{Shape, Until};

/// For how long messages are sent, and how long they are.
#[derive(Args, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// Seconds that count; access tokens live for 15 minutes
    #[arg(long, default_value_t = 20, value_parser = value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds before them that do not count
    #[arg(long, default_value_t = 3, value_parser = value_parser!(u64).range(..=120))]
    warm_up: u64,
    /// Characters of each message
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u16).range(1..=8000))]
    text: u16,
}

impl Messages {
    fn shape(self, in_flight: u16, until: Until, rate: Option<NonZeroU64>) -> Shape {
        let Self { seconds, warm_up, text } = self;
        Shape { in_flight, until, rate, warm_up, seconds, text }
    }
}

/// What a scenario reports.
pub trait Sound {
    /// Nothing was lost, doubled or out of order, and every connection lived to see it.
    fn is_sound(&self) -> bool;
}
