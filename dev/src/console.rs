//! One log for all processes: each line with its time, who says it, and colour where a terminal shows it.

use std::{
    collections::{HashMap, VecDeque},
    env,
    io::{IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
};

use testkit::process::Output;

/// Kept of each process, to be shown when it dies.
const LAST_LINES: usize = 20;
/// Width of the column with names.
const NAME_WIDTH: usize = 9;

const BOLD: &str = "1";
const RED: &str = "31";
const BOLD_RED: &str = "1;31";
const YELLOW: &str = "33";
const DIM: &str = "2";
/// Of the processes, in turn: cyan, green, magenta, blue and their bright ones.
const COLOURS: [&str; 8] = ["36", "32", "35", "34", "96", "92", "95", "94"];

/// The terminal; cheap to clone.
#[derive(Clone)]
pub(crate) struct Console {
    colour: bool,
    latest: Arc<Mutex<HashMap<String, VecDeque<String>>>>,
}

impl Console {
    /// Colours only a terminal, and not where `NO_COLOR` asks for none (no-color.org).
    pub(crate) fn new() -> Self {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { colour: std::io::stdout().is_terminal() && !plain, latest: Arc::default() }
    }

    /// A line of `cargo dev` itself.
    pub(crate) fn say(&self, line: &str) {
        self.print(&format!("{} {line}", self.paint(BOLD, &format!("{:<NAME_WIDTH$}", "dev"))));
    }

    /// Lines that must be seen.
    pub(crate) fn alarm(&self, lines: &str) {
        for line in lines.lines() {
            self.print(&self.paint(BOLD_RED, &format!("{:<NAME_WIDTH$} {line}", "dev")));
        }
    }

    /// Where a process is to write: here, after its name.
    pub(crate) fn output(&self, name: &str) -> Output {
        let (console, name) = (self.clone(), name.to_owned());
        let colour = {
            let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
            let index = latest.len();
            latest.entry(name.clone()).or_default();
            COLOURS[index % COLOURS.len()]
        };
        Output::Lines(Box::new(move |line| console.line(&name, colour, line)))
    }

    /// The last lines that a process wrote, also those that were not worth showing.
    pub(crate) fn last_lines(&self, name: &str) -> Vec<String> {
        let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        latest.get(name).map(|lines| lines.iter().cloned().collect()).unwrap_or_default()
    }

    fn line(&self, name: &str, colour: &str, line: &str) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = latest.entry(name.to_owned()).or_default();
        lines.push_back(line.to_owned());
        if lines.len() > LAST_LINES {
            lines.pop_front();
        }
        drop(latest);
        let Some(line) = Line::of(name, line) else { return };
        let name = self.paint(colour, &format!("{name:<NAME_WIDTH$}"));
        let text = match line.level {
            Level::Error => self.paint(RED, line.text),
            Level::Warning => self.paint(YELLOW, line.text),
            Level::Detail => self.paint(DIM, line.text),
            Level::Plain => line.text.to_owned(),
        };
        self.print(&format!("{name} {}{text}", self.paint(DIM, line.time)));
    }

    fn paint(&self, colour: &str, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_owned() }
    }

    #[expect(clippy::unused_self, reason = "printing is what a console is for")]
    fn print(&self, line: &str) {
        // A terminal that is gone is no reason to fail: SIGHUP is on its way.
        let _ = writeln!(std::io::stdout(), "{line}");
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Level {
    Error,
    Warning,
    Plain,
    Detail,
}

/// A line as it is shown: `time` is empty or ends in a space.
#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    time: &'a str,
    level: Level,
    text: &'a str,
}

impl<'a> Line<'a> {
    /// What to show of a line; `None` for what nobody needs to see.
    fn of(name: &str, line: &'a str) -> Option<Self> {
        if name == "nats" { Self::of_nats(line) } else { Some(Self::of_service(line)) }
    }

    /// `2026-11-22T10:00:00.123456Z  INFO text`: the time of day is enough, and the level too where it is not INFO.
    fn of_service(line: &'a str) -> Self {
        let plain = Self { time: "", level: Level::Plain, text: line };
        let Some((time, rest)) = line.split_once(' ') else { return plain };
        let (Some('T'), true) = (time.chars().nth(10), time.is_ascii() && time.len() > 19) else { return plain };
        let (level, text) = match rest.trim_start().split_once(' ') {
            Some(("ERROR", _)) => (Level::Error, rest.trim_start()),
            Some(("WARN", _)) => (Level::Warning, rest.trim_start()),
            Some(("INFO", text)) => (Level::Plain, text),
            Some(("DEBUG" | "TRACE", _)) => (Level::Detail, rest.trim_start()),
            _ => return plain,
        };
        // `10:00:00`, and the rest begins with the space that follows.
        Self { time: time.get(11..19).unwrap_or_default(), level, text: Self::with_space(line, text) }
    }

    /// `[123] 2026/11/22 10:00:00.123456 [INF] text`: nats-server tells much about itself, so only what is wrong.
    fn of_nats(line: &'a str) -> Option<Self> {
        let (head, text) = line.split_once("] ").and_then(|(_, rest)| rest.split_once('['))?;
        let (level, message) = text.split_once("] ")?;
        let level = match level {
            "WRN" => Level::Warning,
            "ERR" | "FTL" => Level::Error,
            _ => return None,
        };
        // The passwords are random and come from variables; the server wants them hashed in the file.
        if message.starts_with("Plaintext passwords detected") {
            return None;
        }
        let time = head.split(' ').nth(1).and_then(|time| time.get(..8)).unwrap_or_default();
        Some(Self { time, level, text: Self::with_space(line, message) })
    }

    /// `text`, a part of `line`, with the space before it.
    fn with_space(line: &'a str, text: &'a str) -> &'a str {
        let start = line.len() - text.len();
        line.get(start.saturating_sub(1)..).unwrap_or(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_services_line_is_shown_with_its_time_of_day() {
        let line = "2026-11-22T10:00:00.123456Z  INFO letter for anna@example.org";
        let shown = Line { time: "10:00:00", level: Level::Plain, text: " letter for anna@example.org" };
        assert_eq!(Line::of("mail", line), Some(shown));
        let line = "2026-11-22T10:00:00.123456Z  WARN NATS is away";
        let shown = Line { time: "10:00:00", level: Level::Warning, text: " WARN NATS is away" };
        assert_eq!(Line::of("mail", line), Some(shown));
    }

    #[test]
    fn what_is_no_log_line_is_shown_as_it_is() {
        for line in
            ["", "thread 'main' panicked at chat/src/main.rs:1:1:", "ä 2026 and so on, more than nineteen bytes"]
        {
            assert_eq!(Line::of("chat", line), Some(Line { time: "", level: Level::Plain, text: line }));
        }
    }

    #[test]
    fn of_nats_only_trouble_is_shown() {
        assert_eq!(Line::of("nats", "[7] 2026/11/22 10:00:00.123456 [INF] Server is ready"), None);
        assert_eq!(Line::of("nats", "[7] 2026/11/22 10:00:00.123456 [WRN] Plaintext passwords detected, use"), None);
        let shown = Line { time: "10:00:00", level: Level::Error, text: " cid:9 - Publish Violation" };
        assert_eq!(Line::of("nats", "[7] 2026/11/22 10:00:00.123456 [ERR] cid:9 - Publish Violation"), Some(shown));
    }
}
