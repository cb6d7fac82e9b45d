//! MongoDB that may be away: a ping knows within a second, so that calls which need it are refused at once instead of
//! waiting for the driver.

pub mod bulk;

use std::{error::Error, time::Duration};

use bson::doc;
use contract::Refusal;
use mongodb::{Client, Database, options::ClientOptions};

use crate::{Lifecycle, Readiness, absent, chain, config::MongoConfig, fault};

/// The driver's search for a server ends after this.
const SELECTION: Duration = Duration::from_secs(2);
const PING: Duration = Duration::from_secs(1);
/// Name of the readiness part.
pub const PART: &str = "mongo";

/// A database of ours; cheap to clone.
#[derive(Debug, Clone)]
pub struct Mongo {
    database: Database,
    readiness: Readiness,
}

impl Mongo {
    /// Connects in the background; readiness `mongo` follows.
    pub async fn connect(
        config: &MongoConfig,
        readiness: &Readiness,
        lifecycle: &Lifecycle,
    ) -> Result<Self, mongodb::error::Error> {
        let mut options = ClientOptions::parse(&config.uri).await?;
        options.app_name.get_or_insert_with(|| "natter".to_owned());
        options.server_selection_timeout = Some(SELECTION);
        options.connect_timeout = Some(SELECTION);
        let database = Client::with_options(options)?.database(&config.database);
        readiness.set(PART, false);
        let mongo = Self { database, readiness: readiness.clone() };
        let (pinging, soft) = (mongo.clone(), lifecycle.soft().clone());
        lifecycle.keep(PART, async move {
            while !soft.is_cancelled() {
                let answer = tokio::time::timeout(SELECTION, pinging.database.run_command(doc! { "ping": 1 })).await;
                pinging.readiness.set(PART, matches!(answer, Ok(Ok(_))));
                tokio::select! { () = soft.cancelled() => {}, () = tokio::time::sleep(PING) => {} }
            }
        });
        Ok(mongo)
    }

    /// The database, or `unavailable` at once while it is known to be away.
    pub fn database(&self) -> Result<&Database, Refusal> {
        if self.readiness.has(PART) {
            return Ok(&self.database);
        }
        Err(Refusal::unavailable("The database is unavailable right now; please try again."))
    }

    /// The database whether it is there or not, for what waits and tries again.
    #[must_use]
    pub fn database_anyway(&self) -> &Database {
        &self.database
    }

    /// Makes indexes, or whatever else `ensure` does, once MongoDB is there for the first time; nobody waits for it.
    pub fn ensure<E, F>(&self, lifecycle: &Lifecycle, ensure: E)
    where
        E: Fn(Database) -> F + Send + 'static,
        F: Future<Output = Result<(), mongodb::error::Error>> + Send,
    {
        let (this, soft) = (self.clone(), lifecycle.soft().clone());
        lifecycle.spawn(async move {
            while !soft.is_cancelled() {
                tokio::select! { () = soft.cancelled() => return, () = this.there() => {} }
                match ensure(this.database.clone()).await {
                    Ok(()) => return,
                    Err(error) => tracing::warn!(error = chain(&error), "cannot make indexes; trying again"),
                }
                tokio::select! { () = soft.cancelled() => {}, () = tokio::time::sleep(PING) => {} }
            }
        });
    }

    /// Waits until it is there.
    pub async fn there(&self) {
        while !self.readiness.has(PART) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Whether a unique index refused the write.
#[must_use]
pub fn is_duplicate_key(error: &mongodb::error::Error) -> bool {
    use mongodb::error::{ErrorKind, WriteFailure};
    match error.kind.as_ref() {
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == 11_000,
        ErrorKind::Command(error) => error.code == 11_000,
        _ => false,
    }
}

/// A failed operation as a refusal: `unavailable` where the database is away, `internal` where we asked wrongly.
pub fn refusal(doing: &str, error: &mongodb::error::Error) -> Refusal {
    use mongodb::error::ErrorKind;
    let away = matches!(
        error.kind.as_ref(),
        ErrorKind::Io(_)
            | ErrorKind::ServerSelection { .. }
            | ErrorKind::ConnectionPoolCleared { .. }
            | ErrorKind::DnsResolve { .. }
    );
    let error: &(dyn Error + 'static) = error;
    if away { absent(doing, error) } else { fault(doing, error) }
}
