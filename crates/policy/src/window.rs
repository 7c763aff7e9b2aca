//! When a rule with `days` and `hours` is open.

use gatewayd_core::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

use crate::error::Error;
use crate::spec::RuleSpec;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_A_DAY: u16 = 24 * 60;

/// A recurring span of local time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Window {
    zone: TimeZone,
    days: [bool; 7],
    /// Minutes since midnight, `from` included, `to` not; `to <= from` goes past midnight.
    hours: Vec<(u16, u16)>,
}

impl Window {
    /// The window of a rule, or `None` if it is always open.
    pub(crate) fn of(rule: &RuleSpec) -> Result<Option<Self>, Error> {
        let Some(zone) = &rule.zone else {
            let key = match (&rule.days, &rule.hours) {
                (None, None) => return Ok(None),
                (Some(_), _) => "days",
                (None, Some(_)) => "hours",
            };
            let remedy = "add `zone` with an IANA name such as `Europe/Berlin` or `UTC`";
            return Err(Error::rule(&rule.name, key, "says a time without a time zone", remedy));
        };
        if rule.days.is_none() && rule.hours.is_none() {
            let remedy = "add `days` or `hours`, or leave `zone` out";
            return Err(Error::rule(&rule.name, "zone", "has no effect without a time", remedy));
        }
        let zone = TimeZone::get(zone).map_err(|_| {
            let remedy = "write an IANA name such as `Europe/Berlin` or `UTC`";
            Error::rule(
                &rule.name,
                "zone",
                format!("`{}` is no known time zone", zone.escape_debug()),
                remedy,
            )
        })?;
        Ok(Some(Self { zone, days: parse_days(rule)?, hours: parse_hours(rule)? }))
    }

    /// True if it is open at that time.
    pub(crate) fn is_open(&self, now: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_microsecond(now.0) else { return false };
        let local = self.zone.to_datetime(instant);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let today = local.date().weekday();
        self.hours.iter().any(|&(from, to)| {
            if from < to {
                self.has(today) && (from..to).contains(&minute)
            } else {
                self.has(today) && minute >= from || self.has(today.previous()) && minute < to
            }
        })
    }

    /// A text that differs for windows that differ, for the policy's version.
    pub(crate) fn describe(&self) -> String {
        let zone = self.zone.iana_name().unwrap_or("UTC");
        format!("{zone} {:?} {:?}", self.days, self.hours)
    }

    fn has(&self, day: Weekday) -> bool {
        let index = usize::from(day.to_monday_zero_offset().unsigned_abs());
        self.days.get(index).copied().unwrap_or(false)
    }
}

fn parse_days(rule: &RuleSpec) -> Result<[bool; 7], Error> {
    let Some(days) = &rule.days else { return Ok([true; 7]) };
    let mut open = [false; 7];
    for day in days {
        let index = DAYS.iter().position(|name| name == day);
        let Some(slot) = index.and_then(|index| open.get_mut(index)) else {
            let problem = format!("`{}` is no day of the week", day.escape_debug());
            return Err(Error::rule(
                &rule.name,
                "days",
                problem,
                "write mon, tue, wed, thu, fri, sat or sun",
            ));
        };
        *slot = true;
    }
    Ok(open)
}

fn parse_hours(rule: &RuleSpec) -> Result<Vec<(u16, u16)>, Error> {
    let Some(hours) = &rule.hours else { return Ok(vec![(0, MINUTES_A_DAY)]) };
    let mut spans = Vec::with_capacity(hours.len());
    for span in hours {
        let parsed = span.split_once('-').and_then(|(from, to)| {
            let (from, to) = (parse_minute(from)?, parse_minute(to)?);
            (from != to && from < MINUTES_A_DAY).then_some((from, to))
        });
        let Some(parsed) = parsed else {
            let problem = format!("`{}` is no span of time", span.escape_debug());
            let remedy = "write such as `08:00-18:00`, or `22:00-06:00` to go past midnight";
            return Err(Error::rule(&rule.name, "hours", problem, remedy));
        };
        spans.push(parsed);
    }
    Ok(spans)
}

/// `HH:MM` from `00:00` to `24:00`.
fn parse_minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let two_digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
    if !two_digits(hour) || !two_digits(minute) {
        return None;
    }
    let (hour, minute) = (hour.parse::<u16>().ok()?, minute.parse::<u16>().ok()?);
    let total = hour * 60 + minute;
    (minute < 60 && total <= MINUTES_A_DAY).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RuleEffect;

    fn window(days: Option<&[&str]>, hours: Option<&[&str]>, zone: &str) -> Result<Option<Window>, Error> {
        let list = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let mut rule = RuleSpec::new("r", RuleEffect::Deny);
        rule.days = days.map(list);
        rule.hours = hours.map(list);
        rule.zone = Some(zone.to_owned());
        Window::of(&rule)
    }

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
    }

    #[test]
    fn hours_are_local_and_follow_summer_time() {
        let office = window(Some(&["mon"]), Some(&["08:00-18:00"]), "Europe/Berlin").unwrap().unwrap();
        // 2026-01-05 and 2026-07-06 are Mondays; Berlin is UTC+1 in winter and UTC+2 in summer.
        assert!(!office.is_open(at("2026-01-05T06:59:59Z")));
        assert!(office.is_open(at("2026-01-05T07:00:00Z")));
        assert!(office.is_open(at("2026-07-06T06:00:00Z")));
        assert!(office.is_open(at("2026-07-06T15:59:59Z")));
        assert!(!office.is_open(at("2026-07-06T16:00:00Z")));
        assert!(!office.is_open(at("2026-07-07T10:00:00Z")), "a Tuesday");
    }

    #[test]
    fn a_span_past_midnight_belongs_to_the_day_it_began_on() {
        let night = window(Some(&["fri"]), Some(&["22:00-06:00"]), "UTC").unwrap().unwrap();
        // 2026-01-09 is a Friday.
        assert!(!night.is_open(at("2026-01-09T05:00:00Z")));
        assert!(night.is_open(at("2026-01-09T22:00:00Z")));
        assert!(night.is_open(at("2026-01-10T05:59:00Z")));
        assert!(!night.is_open(at("2026-01-10T06:00:00Z")));
        assert!(!night.is_open(at("2026-01-10T23:00:00Z")));
    }

    #[test]
    fn nonsense_is_refused() {
        for hours in
            ["8-18", "08:00", "08:60-09:00", "24:01-03:00", "09:00-09:00", "+8:00-09:00", "24:00-01:00"]
        {
            assert!(window(None, Some(&[hours]), "UTC").is_err(), "{hours}");
        }
        assert!(window(Some(&["monday"]), None, "UTC").is_err());
        assert!(window(None, None, "UTC").is_err());
        assert!(window(None, Some(&["08:00-09:00"]), "Mars/Base").is_err());
        assert!(window(None, Some(&["00:00-24:00"]), "UTC").is_ok());
    }
}
