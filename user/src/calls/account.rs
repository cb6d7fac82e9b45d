//! Signing up and in.

mod login;
mod me;
mod register;
mod request_otp;
mod verify;

pub(crate) use login::login;
pub(crate) use me::me;
pub(crate) use register::register;
pub(crate) use request_otp::request_otp;
pub(crate) use verify::verify;
