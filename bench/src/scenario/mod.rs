//! What load there is to choose from.

pub mod idle;
pub mod notify;
pub mod send;
