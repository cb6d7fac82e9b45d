//! What load there is to choose from.

pub mod group;
pub mod idle;
pub mod limit;
pub mod notify;
pub mod send;
