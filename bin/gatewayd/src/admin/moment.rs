//! A point in time as a person writes it: how long ago, or when.

use gatewayd_core::{RefusalCode, Timestamp};

use super::auth::Problem;
use crate::length_of_time;

/// Reads `90m` (so long ago), `2026-03-01` (UTC) or a time of RFC 3339.
pub(super) fn read(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Some(ago) = length_of_time::read(text) {
        let micros = i64::try_from(ago.as_micros()).unwrap_or(i64::MAX);
        return Ok(Timestamp(now.0.saturating_sub(micros)));
    }
    // A day alone is its beginning in UTC. A time without an offset is refused: it could mean any of 27 hours.
    let day = format!("{text}T00:00:00Z");
    if let Ok(moment) = text.parse::<jiff::Timestamp>().or_else(|_| day.parse()) {
        return Ok(Timestamp(moment.as_microsecond()));
    }
    Err(Problem::new(
        RefusalCode::InvalidRequest,
        "a time is written as how long ago (`90m`, `30d`), as a day in UTC (`2026-03-01`), or as `2026-03-01T12:00:00Z`",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_how_long_ago_a_day_or_a_moment() {
        let now = Timestamp::from_seconds(1_772_400_000);
        let seconds = |text| read(text, now).map(Timestamp::seconds).ok();
        assert_eq!(seconds("90m"), Some(1_772_400_000 - 5_400));
        assert_eq!(seconds("1d"), Some(1_772_400_000 - 86_400));
        assert_eq!(seconds("2026-03-01"), Some(1_772_323_200));
        assert_eq!(seconds("2026-03-01T12:00:00Z"), Some(1_772_366_400));
        assert_eq!(seconds("2026-03-01T12:00:00+02:00"), Some(1_772_359_200));
        for wrong in ["", "yesterday", "2026-03-01T12:00:00", "2026-13-01", "12"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
