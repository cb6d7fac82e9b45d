//! What people do: a plan of everything there is to do, carried out step by step, and writers who only write.

pub mod absent;
pub mod plan;
pub mod world;
pub mod writers;
