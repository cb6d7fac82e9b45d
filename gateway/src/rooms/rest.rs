//! Rest after a fan-out: what comes meanwhile goes out together, several events in one write to each socket. In a room of a few
//! sockets that is less than the timer can do, and nothing waits.

use std::time::Duration;

use tokio::time::Instant;

/// For each of the room's sockets here.
const EACH: Duration = Duration::from_micros(20);
const AT_MOST: Duration = Duration::from_millis(50);
/// The timer can do no less.
const AT_LEAST: Duration = Duration::from_millis(1);
/// A room that has rested is busy for twice as long: who writes into it then is mostly not alone.
const BUSY: u32 = 2;
/// What comes first in a busy room waits for others: three eighths of a rest.
const GATHER: (u32, u32) = (3, 8);

/// When a room emits what it has heard.
#[derive(Default)]
pub(super) struct Rhythm(Option<Rest>);

struct Rest {
    end: Instant,
    length: Duration,
}

impl Rhythm {
    /// Something has gone out to so many sockets.
    pub(super) fn fanned_out(&mut self, now: Instant, sockets: usize) {
        let length = EACH.saturating_mul(u32::try_from(sockets).unwrap_or(u32::MAX)).min(AT_MOST);
        self.0 = (length >= AT_LEAST).then(|| Rest { end: now + length, length });
    }

    /// Until when nothing goes out.
    pub(super) fn resting_until(&self, now: Instant) -> Option<Instant> {
        self.0.as_ref().map(|rest| rest.end).filter(|end| *end > now)
    }

    /// For how long what has come waits for others to go out with.
    pub(super) fn gathering(&self, now: Instant) -> Option<Duration> {
        let rest = self.0.as_ref().filter(|rest| now < rest.end + rest.length * BUSY)?;
        Some(rest.length * GATHER.0 / GATHER.1).filter(|gathering| *gathering >= AT_LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(sockets: usize) -> (Rhythm, Instant) {
        let (mut rhythm, now) = (Rhythm::default(), Instant::now());
        rhythm.fanned_out(now, sockets);
        (rhythm, now)
    }

    #[test]
    fn only_large_rooms_rest_and_not_for_long() {
        let rest = |sockets| {
            let (rhythm, now) = after(sockets);
            rhythm.resting_until(now).map(|until| until - now)
        };
        assert_eq!([0, 2, 49].map(rest), [None; 3]);
        assert_eq!(rest(50), Some(Duration::from_millis(1)));
        assert_eq!(rest(500), Some(Duration::from_millis(10)));
        assert_eq!(rest(usize::MAX), Some(Duration::from_millis(50)));
    }

    #[test]
    fn only_busy_large_rooms_gather() {
        assert_eq!(Rhythm::default().gathering(Instant::now()), None);
        let gathering = |sockets, milliseconds| {
            let (rhythm, now) = after(sockets);
            rhythm.gathering(now + Duration::from_millis(milliseconds))
        };
        assert_eq!(gathering(100, 2), None);
        assert_eq!(gathering(500, 10), Some(Duration::from_micros(3_750)));
        assert_eq!(gathering(500, 29), Some(Duration::from_micros(3_750)));
        assert_eq!(gathering(500, 30), None);
    }
}
