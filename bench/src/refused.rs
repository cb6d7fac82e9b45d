//! What a server says no with, and when one may come again.

use std::{error, fmt, time::Duration};

use serde::Deserialize;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// As in `api.md`, or an HTTP status where there is no code.
    pub code: String,
    /// What the server asks to wait; zero if it does not say.
    pub wait: Duration,
}

/// The part of a problem (RFC 9457) that is read.
#[derive(Deserialize)]
struct Problem {
    code: String,
}

impl Refused {
    pub fn new(code: impl Into<String>, seconds: Option<u64>) -> Self {
        Self { code: code.into(), wait: Duration::from_secs(seconds.unwrap_or_default()) }
    }

    /// Of an HTTP response; `retry_after` is the value of that header, of which only seconds are understood.
    pub fn over_http(status: u16, retry_after: Option<&[u8]>, body: &[u8]) -> Self {
        let seconds = retry_after.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
        let code = serde_json::from_slice(body).map(|Problem { code }| code);
        Self::new(code.unwrap_or_else(|_| status.to_string()), seconds)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {}", self.code)
    }
}

impl error::Error for Refused {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_and_time_are_read_where_they_are() {
        let refused = Refused::over_http(429, Some(b"7"), br#"{"status": 429, "code": "rate_limited"}"#);
        assert_eq!(refused, Refused::new("rate_limited", Some(7)));
        let refused = Refused::over_http(502, Some(b"Sun, 22 Nov 2026 10:00:00 GMT"), b"<html>");
        assert_eq!(refused, Refused::new("502", None));
    }
}
