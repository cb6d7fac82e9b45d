//! The user service on a real NATS, under the project's `nats.conf`, and a real MongoDB.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails says where")]

mod contacts;
mod devices;
mod gateway;
mod login;
mod new_passwords;
mod one_time_codes;
mod operation;
mod presence;
mod profile;
mod registration;
mod sessions;
mod world;
