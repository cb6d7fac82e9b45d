//! Many writes in one command, as they are: the driver's own bulk writes need MongoDB 8.

use bson::{Bson, Document, doc};
use mongodb::{
    Database,
    error::{Error, Result},
};

/// A unique index refused it.
const DUPLICATE_KEY: i64 = 11_000;

/// Inserts documents; answers which of them, by their places, a unique index did not let in: most often they are there
/// already. Any other refusal is an error, after which some may have been inserted.
pub async fn insert(database: &Database, collection: &str, documents: Vec<Document>) -> Result<Vec<usize>> {
    let command = doc! { "insert": collection, "documents": documents, "ordered": false };
    let answer = database.run_command(command).await?;
    let errors = answer.get_array("writeErrors").into_iter().flatten();
    errors.map(|error| duplicate(error).ok_or_else(|| refused(error))).collect()
}

/// Runs update statements; answers how many documents they found. An error where one of them was refused: two that upsert one
/// new document at the same time, for example, after which the others may have been written.
pub async fn update(database: &Database, collection: &str, updates: Vec<Document>) -> Result<usize> {
    let command = doc! { "update": collection, "updates": updates, "ordered": false };
    let answer = database.run_command(command).await?;
    if let Some(error) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
        return Err(refused(error));
    }
    Ok(number(&answer, "n").and_then(|n| usize::try_from(n).ok()).unwrap_or(0))
}

fn duplicate(error: &Bson) -> Option<usize> {
    let error = error.as_document().filter(|error| number(error, "code") == Some(DUPLICATE_KEY))?;
    usize::try_from(number(error, "index")?).ok()
}

/// Servers differ in the type they write numbers in.
fn number(document: &Document, name: &str) -> Option<i64> {
    let number = document.get(name)?;
    number.as_i64().or_else(|| number.as_i32().map(i64::from))
}

fn refused(error: &Bson) -> Error {
    Error::custom(format!("a write was refused: {error}"))
}
