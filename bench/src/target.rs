//! What load is put on.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

#[derive(Args, Clone, Serialize)]
pub struct Target {
    /// Gateways, separated by commas; with one only, nothing crosses between gateways
    #[arg(long, value_delimiter = ',', default_value = "http://127.0.0.1:8080", value_parser = address)]
    pub gateways: Vec<String>,
    /// Folder that the mail service writes letters into (NATTER_MAIL__FILES)
    #[arg(long, default_value = ".dev/mail")]
    #[serde(skip)]
    pub mail: PathBuf,
}

/// An address as it is given on the command line.
pub fn address(url: &str) -> Result<String, String> {
    let url = url.trim_end_matches('/');
    if url.starts_with("http://") {
        Ok(url.to_owned())
    } else {
        Err("must be http://host:port, without TLS".to_owned())
    }
}
