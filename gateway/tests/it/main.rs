//! The gateway against a real NATS and the official client, with `user` and `chat` played by the tests.

mod connect;
mod events;
mod raw;
mod rest;
mod rooms;
mod world;
