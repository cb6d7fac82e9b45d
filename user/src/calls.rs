//! What this service answers: a file for each call, with its rule.

pub(crate) mod account;
pub(crate) mod presence;
pub(crate) mod profile;
pub(crate) mod sessions;
