//! What people see of each other. Who has not proven their address is not there.

mod contacts;
mod known;
mod search;
mod update;

use contract::{
    Refusal,
    user::{GetUser, User},
};

use crate::Shared;

pub(crate) use contacts::{contacts, list_contacts};
pub(crate) use known::known;
pub(crate) use search::search;
pub(crate) use update::{set_status, update};

pub(crate) async fn get(state: Shared, request: GetUser) -> Result<User, Refusal> {
    state.store.account(request.user_id).await?.map(|account| account.user).ok_or_else(|| Refusal::not_found("user"))
}
