//! Finding people: by the beginning of their name, or by their whole address.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64URL};
use contract::{
    Refusal,
    chat::MAX_PAGE,
    text::Email,
    user::{SearchUsers, UserPage},
};
use service::fault;

use crate::{Shared, store::UserCursor};

/// The longest address; no name is longer.
const LONGEST: usize = 254;

/// A query with an @ is an address. Otherwise a page of names, to be continued at `nextCursor` also where users come and
/// go meanwhile.
pub(crate) async fn search(state: Shared, request: SearchUsers) -> Result<UserPage, Refusal> {
    let SearchUsers { query, cursor, limit, .. } = request;
    let query = query.trim();
    if query.chars().count() > LONGEST {
        return Err(Refusal::field("query", format!("must be at most {LONGEST} characters")));
    }
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(Refusal::field("limit", format!("must be 1 to {MAX_PAGE}")));
    }
    let after = cursor.as_deref().map(read).transpose()?;
    if query.contains('@') {
        // What is no address is nobody's.
        let Ok(email) = Email::new(query) else { return Ok(UserPage { users: Vec::new(), next_cursor: None }) };
        let users = state.store.account_of(&email).await?.map(|account| account.user).into_iter().collect();
        return Ok(UserPage { users, next_cursor: None });
    }
    // One more than asked for tells whether there is a next page.
    let mut users = state.store.by_name(query, after.as_ref(), limit + 1).await?;
    let more = users.len() > limit as usize;
    users.truncate(limit as usize);
    let next_cursor = users.last().filter(|_| more).map(|last| write(&UserCursor::of(last))).transpose()?;
    Ok(UserPage { users, next_cursor })
}

/// Opaque to a frontend, so that what is in it may change.
fn write(cursor: &UserCursor) -> Result<String, Refusal> {
    serde_json::to_vec(cursor).map(|json| BASE64URL.encode(json)).map_err(|error| fault("writing a cursor", &error))
}

fn read(cursor: &str) -> Result<UserCursor, Refusal> {
    let json = BASE64URL.decode(cursor).ok();
    json.and_then(|json| serde_json::from_slice(&json).ok())
        .ok_or_else(|| Refusal::field("cursor", "must be a cursor that was given with a page"))
}

#[cfg(test)]
mod tests {
    use contract::{Code, UserId};

    use super::*;

    #[test]
    fn a_cursor_reads_as_written_and_nonsense_is_refused() {
        let cursor = UserCursor { name: "änne".to_owned(), id: UserId::new() };
        assert_eq!(read(&write(&cursor).unwrap()), Ok(cursor));
        for text in ["", "abc", "%", "e30", "eyJuYW1lIjoxfQ"] {
            assert_eq!(read(text).unwrap_err().code, Code::Invalid, "{text:?}");
        }
    }
}
