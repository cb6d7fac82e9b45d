//! Signing up and in.

mod forgot_password;
mod login;
mod me;
mod register;
mod request_otp;
mod reset_password;
mod sign_in;
mod verify;

pub(crate) use forgot_password::forgot_password;
pub(crate) use login::login;
pub(crate) use me::me;
pub(crate) use register::register;
pub(crate) use request_otp::request_otp;
pub(crate) use reset_password::reset_password;
pub(crate) use verify::verify;
