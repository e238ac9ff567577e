//! Points in time as people and JSON want them.

use jiff::Timestamp;

/// Microseconds since the Unix epoch as UTC (RFC 3339), to the second.
#[must_use]
pub fn rfc3339(micros: u64) -> String {
    formatted("%Y-%m-%dT%H:%M:%SZ", micros)
}

/// Microseconds since the Unix epoch as a Date field has it (RFC 5322 §3.3), in UTC.
#[must_use]
pub fn rfc5322(micros: u64) -> String {
    formatted("%-d %b %Y %H:%M:%S +0000", micros)
}

/// What is later than the year 9999 is its last moment.
fn formatted(format: &str, micros: u64) -> String {
    let time = i64::try_from(micros)
        .ok()
        .and_then(|micros| Timestamp::from_microsecond(micros).ok());
    time.unwrap_or(Timestamp::MAX).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_field_has_the_month_by_name() {
        assert_eq!(rfc5322(1_000_000_000_000_000), "9 Sep 2001 01:46:40 +0000");
        assert_eq!(rfc5322(1_735_689_599_000_000), "31 Dec 2024 23:59:59 +0000");
    }

    #[test]
    fn known_points_in_time_are_right() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_000_000_000, "2001-09-09T01:46:40Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ];
        for (seconds, expected) in table {
            assert_eq!(rfc3339(seconds * 1_000_000 + 999_999), expected);
        }
        assert!(!rfc3339(u64::MAX).is_empty(), "no point in time is too late");
    }
}
