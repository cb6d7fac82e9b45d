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

/// What a scenario reports.
pub trait Sound {
    /// Nothing was lost, doubled or out of order, and every connection lived to see it.
    fn is_sound(&self) -> bool;
}
