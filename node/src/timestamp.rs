//! Points in time as people and JSON want them.

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;
/// Days in the 400 years after which the calendar repeats.
const DAYS_PER_ERA: u64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const DAYS_TO_EPOCH: u64 = 719_468;

/// Microseconds since the Unix epoch as UTC (RFC 3339), to the second.
#[must_use]
pub fn rfc3339(micros: u64) -> String {
    let (year, month, day) = date(days(micros));
    format!("{year:04}-{month:02}-{day:02}T{}Z", time_of_day(micros))
}

/// Microseconds since the Unix epoch as a Date field has it (RFC 5322 §3.3), in UTC.
#[must_use]
pub fn rfc5322(micros: u64) -> String {
    let (year, month, day) = date(days(micros));
    let names = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let name = names
        .iter()
        .zip(1u64..)
        .find(|(_, number)| *number == month)
        .map_or("", |(name, _)| *name);
    format!("{day} {name} {year:04} {} +0000", time_of_day(micros))
}

fn days(micros: u64) -> u64 {
    micros / MICROS_PER_SECOND / SECONDS_PER_DAY
}

fn time_of_day(micros: u64) -> String {
    let seconds = micros / MICROS_PER_SECOND % SECONDS_PER_DAY;
    format!(
        "{:02}:{:02}:{:02}",
        seconds / 3_600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// The date of a day since the epoch, in the Gregorian calendar. Years begin in March here, so that the leap day is
/// the last of its year and needs no rule of its own.
fn date(day_since_epoch: u64) -> (u64, u64, u64) {
    let day = day_since_epoch + DAYS_TO_EPOCH;
    let (era, day_of_era) = (day / DAYS_PER_ERA, day % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day_of_month)
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
