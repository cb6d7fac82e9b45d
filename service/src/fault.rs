//! From an error inside to a refusal outside: logged here once with its whole chain, told to nobody else.

use std::{error::Error, fmt::Write};

use contract::Refusal;

use crate::Trace;

/// A fault of ours: `internal` for the caller, the whole chain for the operator.
pub fn fault(doing: &str, error: &(dyn Error + 'static)) -> Refusal {
    tracing::error!(trace_id = Trace::current().id(), error = chain(error), "{doing} failed");
    Refusal::internal()
}

/// A part we need is away: `unavailable` for the caller, the whole chain for the operator.
pub fn absent(part: &str, error: &(dyn Error + 'static)) -> Refusal {
    tracing::warn!(trace_id = Trace::current().id(), error = chain(error), "{part} is unavailable");
    Refusal::unavailable("This part of Natter is unavailable right now; please try again.")
}

/// An error and everything that caused it, in one line.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Many errors repeat their source in their own text.
        if !line.ends_with(&text) {
            let _ = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}
