//! What load there is to choose from.

pub mod group;
pub mod idle;
pub mod limit;
pub mod notify;
pub mod send;
pub mod storm;

/// What a scenario reports.
pub trait Sound {
    /// Nothing was lost, doubled or out of order, and every connection lived to see it.
    fn is_sound(&self) -> bool;
}
