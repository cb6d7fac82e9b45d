//! Rest after a fan-out: what comes meanwhile goes out together, several events in one write to each socket. In a room of a few
//! sockets that is less than the timer can do, and nothing waits.

use std::time::Duration;

/// For each of the room's sockets here.
const EACH: Duration = Duration::from_micros(40);
const AT_LEAST: Duration = Duration::from_millis(1);
const AT_MOST: Duration = Duration::from_millis(50);

/// For how long a room rests after a fan-out to so many sockets.
pub(super) fn after(sockets: usize) -> Option<Duration> {
    let rest = EACH.saturating_mul(u32::try_from(sockets).unwrap_or(u32::MAX));
    (rest >= AT_LEAST).then_some(rest.min(AT_MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_large_rooms_rest_and_not_for_long() {
        assert_eq!(after(0), None);
        assert_eq!(after(2), None);
        assert_eq!(after(25), Some(Duration::from_millis(1)));
        assert_eq!(after(500), Some(Duration::from_millis(20)));
        assert_eq!(after(usize::MAX), Some(Duration::from_millis(50)));
    }
}
