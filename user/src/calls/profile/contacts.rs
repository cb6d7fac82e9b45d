//! Where people get letters: asked by `mail` alone, and offered by no gateway.

use contract::{
    Refusal,
    user::{Contacts, GetContacts, ListContacts},
};

use crate::Shared;

/// Most of one answer.
const MOST: usize = 1_000;

/// In no particular order; who is not there, or has not proven their address, is absent.
pub(crate) async fn contacts(state: Shared, request: GetContacts) -> Result<Contacts, Refusal> {
    if request.user_ids.len() > MOST {
        return Err(Refusal::field("userIds", format!("must be at most {MOST}")));
    }
    Ok(Contacts { contacts: state.store.contacts(&request.user_ids).await? })
}

/// Fewer than asked for are the last ones.
pub(crate) async fn list_contacts(state: Shared, request: ListContacts) -> Result<Contacts, Refusal> {
    let limit = usize::try_from(request.limit).unwrap_or(usize::MAX);
    if !(1..=MOST).contains(&limit) {
        return Err(Refusal::field("limit", format!("must be 1 to {MOST}")));
    }
    Ok(Contacts { contacts: state.store.contacts_after(request.after, limit).await? })
}
