//! A client by the recipe of `docs/frontend.md`: what it knows is a pure fold of what it hears and is answered.

pub mod chat;
pub mod device;
pub mod picture;
pub mod view;
