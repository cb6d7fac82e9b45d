//! Quiet hours: when nothing is pushed and no letter is written. Pure.

use std::time::Duration;

use contract::{
    Refusal, Time,
    notification::{QuietHours, Settings},
};
use jiff::{Timestamp, civil, tz::TimeZone};

/// Whether this is within somebody's quiet hours.
#[must_use]
pub fn is_quiet(settings: &Settings, now: Time) -> bool {
    settings.quiet_hours.as_ref().is_some_and(|hours| left(hours, now).is_some())
}

/// How long quiet hours that have begun go on; `None` outside of them.
#[must_use]
pub fn left(hours: &QuietHours, now: Time) -> Option<Duration> {
    let zone = TimeZone::get(&hours.time_zone).ok()?;
    let now = Timestamp::from_millisecond(now.as_millis()).ok()?.to_zoned(zone);
    let time = |minutes: u16| {
        civil::time(i8::try_from(minutes / 60).unwrap_or(0), i8::try_from(minutes % 60).unwrap_or(0), 0, 0)
    };
    let (from, to, clock) = (time(hours.from.minutes()), time(hours.to.minutes()), now.time());
    let quiet = if from <= to { from <= clock && clock < to } else { from <= clock || clock < to };
    if !quiet {
        return None;
    }
    let today = now.date();
    let day = if clock < to { today } else { today.tomorrow().ok()? };
    // A day may have 23 or 25 hours.
    let end = day.to_datetime(to).to_zoned(now.time_zone().clone()).ok()?;
    Duration::try_from(now.duration_until(&end)).ok()
}

/// Refuses a time zone that nobody knows.
pub fn check(hours: &QuietHours) -> Result<(), Refusal> {
    match TimeZone::get(&hours.time_zone) {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::field("quietHours.timeZone", "must be a time zone such as Europe/Berlin")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hours(from: &str, to: &str, zone: &str) -> QuietHours {
        let time = |text: &str| text.to_owned().try_into().unwrap();
        QuietHours { from: time(from), to: time(to), time_zone: zone.to_owned() }
    }

    fn at(text: &str) -> Time {
        Time::from_millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    #[test]
    fn hours_are_those_of_the_users_clock_and_may_go_through_midnight() {
        let night = hours("22:00", "07:00", "Europe/Berlin");
        let minutes = |n: u64| Some(Duration::from_secs(n * 60));
        assert_eq!(left(&night, at("2026-11-22T20:59:00Z")), None);
        assert_eq!(left(&night, at("2026-11-22T21:00:00Z")), minutes(9 * 60));
        assert_eq!(left(&night, at("2026-11-22T05:59:00Z")), minutes(1));
        assert_eq!(left(&night, at("2026-11-22T06:00:00Z")), None);
        // The night in which summer begins is an hour shorter.
        assert_eq!(left(&night, at("2026-03-28T21:00:00Z")), minutes(8 * 60));
        let noon = hours("12:00", "13:00", "UTC");
        assert_eq!(left(&noon, at("2026-11-22T12:30:00Z")), minutes(30));
        assert_eq!(left(&noon, at("2026-11-22T13:00:00Z")), None);
        assert_eq!(left(&hours("12:00", "12:00", "UTC"), at("2026-11-22T12:00:00Z")), None);
    }

    #[test]
    fn a_time_zone_has_to_be_known() {
        assert!(check(&hours("22:00", "07:00", "Europe/Berlin")).is_ok());
        assert!(check(&hours("22:00", "07:00", "Middle/Earth")).is_err());
    }
}
