//! Trace context (W3C Trace Context, level 1): one id from the HTTP request through every call to the archive.

use std::{fmt, str::FromStr};

use async_nats::HeaderMap;
use contract::headers::TRACEPARENT;
use rand::RngExt;

tokio::task_local! {
    static CURRENT: Trace;
}

/// Where in which trace we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    trace: u128,
    span: u64,
}

impl Trace {
    /// A new trace.
    #[must_use]
    pub fn start() -> Self {
        // Zero is invalid in both.
        Self { trace: rand::rng().random::<u128>().max(1), span: rand::rng().random::<u64>().max(1) }
    }

    /// The trace the current task works for; a new one outside of any.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(|trace| *trace).unwrap_or_else(|_| Self::start())
    }

    /// A step within this trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span: rand::rng().random::<u64>().max(1), ..self }
    }

    /// What a message says it belongs to, or a new trace where it says nothing or nonsense.
    #[must_use]
    pub fn of(headers: Option<&HeaderMap>) -> Self {
        headers
            .and_then(|headers| headers.get(TRACEPARENT))
            .and_then(|value| value.as_str().parse().ok())
            .unwrap_or_else(Self::start)
    }

    /// Runs `work` as part of this trace. No `async fn`: that would hold `work` twice, as its argument and as what it awaits.
    pub fn scope<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }

    /// The trace id, 32 hexadecimal digits.
    #[must_use]
    pub fn id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-01", self.trace, self.span)
    }
}

impl FromStr for Trace {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let (Some(version), Some(trace), Some(span)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(());
        };
        if version.len() != 2 || version == "ff" || trace.len() != 32 || span.len() != 16 {
            return Err(());
        }
        let trace = u128::from_str_radix(trace, 16).map_err(|_| ())?;
        let span = u64::from_str_radix(span, 16).map_err(|_| ())?;
        if trace == 0 || span == 0 { Err(()) } else { Ok(Self { trace, span }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_stays_in_the_trace() {
        let trace: Trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().unwrap();
        assert_eq!(trace.to_string(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        assert_eq!(trace.child().id(), "0af7651916cd43dd8448eb211c80319c");
    }

    #[test]
    fn nonsense_is_no_trace() {
        for text in ["", "00", "00-0-0-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "00-é-b-01"] {
            assert_eq!(text.parse::<Trace>(), Err(()), "{text}");
        }
    }
}
