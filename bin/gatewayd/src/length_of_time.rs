//! A length of time as people write it.

use std::time::Duration;

/// Reads `90s`, `5m`, `24h`, `30d`, `2w` or ISO 8601. A day has 24 hours; months and years have no length. `None` for anything
/// else, a negative length included.
pub(crate) fn read(text: &str) -> Option<Duration> {
    let span: jiff::Span = text.parse().ok()?;
    Duration::try_from(span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write() {
        let seconds = |text| read(text).map(|length| length.as_secs());
        assert_eq!(seconds("90s"), Some(90));
        assert_eq!(seconds("1h 30m"), Some(5_400));
        assert_eq!(seconds("720d"), Some(720 * 86_400));
        assert_eq!(seconds("PT5M"), Some(300));
        for wrong in ["", "90", "-5m", "1 month", "soon", "2026-03-01"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }
}
