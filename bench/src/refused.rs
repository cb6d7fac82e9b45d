//! What a server says no with, and when one may come again.

use std::{collections::BTreeMap, error, fmt, time::Duration};

use serde::{Deserialize, Serialize};

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

/// Refusals by their code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Refusals(BTreeMap<String, u64>);

impl Refusals {
    pub fn count(&mut self, code: &str) {
        match self.0.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(self.0.insert(code.to_owned(), 1)),
        }
    }

    pub fn add(&mut self, others: &Self) {
        for (code, count) in &others.0 {
            *self.0.entry(code.clone()).or_default() += count;
        }
    }

    #[cfg(test)]
    pub fn of(&self, code: &str) -> u64 {
        self.0.get(code).copied().unwrap_or_default()
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.0.iter().map(|(code, count)| format!("{count} {code}")).collect();
        f.write_str(&if counts.is_empty() { "0".to_owned() } else { counts.join(", ") })
    }
}

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
