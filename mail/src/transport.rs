//! Where letters go: a mail server, or files.

use std::path::PathBuf;

use crate::{MailConfig, TransportConfig, letter::Rendered, smtp::Smtp};

/// How letters leave.
#[derive(Debug)]
pub(crate) enum Transport {
    Smtp(Smtp),
    Files(Files),
}

/// Why a letter did not leave; says whose fault it is, and so whether to try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// Refused for what it is or whom it is to: another try would end the same.
    #[error("{0}")]
    Refused(String),
    /// Not now.
    #[error("{0}")]
    Later(String),
    /// We cannot use the mail server at all, for any letter: an operator has to look. Until then, later.
    #[error("{0}")]
    Unusable(String),
}

impl Transport {
    /// As configured; the error is a sentence for the operator.
    pub(crate) async fn new(config: &MailConfig) -> Result<Self, String> {
        match &config.transport {
            TransportConfig::Smtp(smtp) => Ok(Self::Smtp(Smtp::new(smtp, config.timeout, config.connections)?)),
            TransportConfig::Files(folder) => {
                let created = tokio::fs::create_dir_all(folder).await;
                created.map_err(|error| format!("NATTER_MAIL__FILES: cannot create {}: {error}", folder.display()))?;
                Ok(Self::Files(Files { folder: folder.clone() }))
            }
        }
    }

    /// Sends a letter. `name` is a file name for it, the same however often it is sent.
    pub(crate) async fn send(&self, letter: &Rendered, name: &str) -> Result<(), SendError> {
        match self {
            Self::Smtp(smtp) => smtp.send(letter).await,
            Self::Files(files) => files
                .write(letter, name)
                .await
                .map_err(|error| SendError::Unusable(format!("cannot write into {}: {error}", files.folder.display()))),
        }
    }
}

/// A folder of `.eml` files.
#[derive(Debug)]
pub(crate) struct Files {
    folder: PathBuf,
}

impl Files {
    /// Writes beside, then renames: who watches the folder never sees half a letter.
    async fn write(&self, letter: &Rendered, name: &str) -> std::io::Result<()> {
        let unfinished = self.folder.join(format!("{name}.tmp"));
        tokio::fs::write(&unfinished, &letter.message).await?;
        tokio::fs::rename(unfinished, self.folder.join(format!("{name}.eml"))).await?;
        // This is for development only: the subject has the code in it.
        tracing::info!("letter for {}: \"{}\"", letter.to, letter.subject);
        Ok(())
    }
}
