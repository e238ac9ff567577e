//! Rows, and how they are shown.

use serde_json::{Value, json};

use crate::load::Sample;
use crate::servers::Kind;

/// What a row counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    MegabytesPerSecond,
    Kibibytes,
    Mebibytes,
    Milliseconds,
}

impl Unit {
    /// The figure of a run.
    pub(crate) fn of(self, sample: &Sample) -> f64 {
        match self {
            Self::MegabytesPerSecond => sample.megabytes_per_second(),
            _ => sample.per_second(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::PerSecond => "1/s",
            Self::MegabytesPerSecond => "MB/s",
            Self::Kibibytes => "KiB",
            Self::Mebibytes => "MiB",
            Self::Milliseconds => "ms",
        }
    }

    fn is_rate(self) -> bool {
        matches!(self, Self::PerSecond | Self::MegabytesPerSecond)
    }
}

/// What a row should come to. A bound that is `None` isn't set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Aim {
    times_dovecot: Option<f64>,
    server_ms_max: Option<f64>,
    value_max: Option<f64>,
}

impl Aim {
    pub(crate) const NONE: Self = Self {
        times_dovecot: None,
        server_ms_max: None,
        value_max: None,
    };

    pub(crate) const fn rate(times_dovecot: f64, server_ms_max: f64) -> Self {
        Self {
            times_dovecot: Some(times_dovecot),
            server_ms_max: Some(server_ms_max),
            value_max: None,
        }
    }

    pub(crate) const fn at_least(times_dovecot: f64) -> Self {
        Self {
            times_dovecot: Some(times_dovecot),
            ..Self::NONE
        }
    }

    pub(crate) const fn at_most(value: f64) -> Self {
        Self {
            value_max: Some(value),
            ..Self::NONE
        }
    }
}

/// One server's figure in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    pub(crate) value: f64,
    /// Processor time of the server, and of the load tool, for each delivery or session.
    pub(crate) server_ms: Option<f64>,
    pub(crate) client_ms: Option<f64>,
}

impl Cell {
    /// A figure without processor time.
    pub(crate) fn of(value: f64) -> Self {
        Self {
            value,
            server_ms: None,
            client_ms: None,
        }
    }
}

/// A measure and what each server came to.
#[derive(Debug)]
pub(crate) struct Row {
    name: String,
    title: String,
    unit: Unit,
    aim: Aim,
    mailhorn: Option<Cell>,
    dovecot: Option<Cell>,
    bare: Option<Cell>,
}

impl Row {
    pub(crate) fn new(name: &str, title: &str, unit: Unit, aim: Aim) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            unit,
            aim,
            mailhorn: None,
            dovecot: None,
            bare: None,
        }
    }

    pub(crate) fn set(&mut self, kind: Kind, cell: Cell) {
        *match kind {
            Kind::Mailhorn => &mut self.mailhorn,
            Kind::Dovecot => &mut self.dovecot,
            Kind::Bare => &mut self.bare,
        } = Some(cell);
    }

    /// How many times the other's figure ours is.
    fn times(&self, other: Option<Cell>) -> Option<f64> {
        Some(self.mailhorn?.value / other?.value)
    }

    /// The aim with whether it is met, as far as that can be said.
    fn verdict(&self) -> String {
        let mailhorn = self.mailhorn;
        let bounds = [
            (
                self.aim.times_dovecot,
                self.times(self.dovecot),
                true,
                " × Dovecot",
            ),
            (
                self.aim.server_ms_max,
                mailhorn.and_then(|cell| cell.server_ms),
                false,
                " ms CPU",
            ),
            (
                self.aim.value_max,
                mailhorn.map(|cell| cell.value),
                false,
                self.unit.name(),
            ),
        ];
        let texts = bounds.into_iter().filter_map(|(bound, value, is_minimum, unit)| {
            let bound = bound?;
            let sign = if is_minimum { '≥' } else { '≤' };
            let verdict = match value {
                None => "not measured",
                Some(value) if is_minimum && value >= bound || !is_minimum && value <= bound => "met",
                Some(_) => "missed",
            };
            Some(format!("{sign} {bound} {}: {verdict}", unit.trim()))
        });
        texts.collect::<Vec<_>>().join("; ")
    }

    fn cell(&self, cell: Option<Cell>) -> String {
        let Some(cell) = cell else { return "–".to_owned() };
        let value = number(cell.value);
        match cell.server_ms {
            Some(ms) => format!("{value} ({ms:.3} ms)"),
            None if self.unit.is_rate() => value,
            None => format!("{value} {}", self.unit.name()),
        }
    }

    fn json(&self) -> Value {
        let cell = |cell: Option<Cell>| {
            cell.map(|cell| json!({ "value": cell.value, "server_cpu_ms": cell.server_ms, "load_tool_cpu_ms": cell.client_ms }))
        };
        json!({
            "name": self.name, "title": self.title, "unit": self.unit.name(),
            "mailhorn": cell(self.mailhorn), "dovecot": cell(self.dovecot), "bare": cell(self.bare),
            "times_dovecot": self.times(self.dovecot), "times_bare": self.times(self.bare), "aim": self.verdict(),
        })
    }
}

/// Three digits that count, or all before the point.
fn number(value: f64) -> String {
    let decimals = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

/// The middle one; between two, their mean. Not a number where there is none.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len().is_multiple_of(2)) {
        (None, _) => f64::NAN,
        (Some(upper), false) => *upper,
        (Some(upper), true) => f64::midpoint(*upper, values[middle - 1]),
    }
}

/// The rows as a Markdown table.
pub(crate) fn markdown(rows: &[Row]) -> String {
    let mut table = String::from(
        "| Measure (server CPU for each) | Mailhorn | Dovecot | Bare limit | × Dovecot | × bare limit | Aim |\n\
         | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for row in rows {
        let times = |times: Option<f64>| times.map_or_else(|| "–".to_owned(), number);
        table += &format!(
            "| {} | {} | {} | {} | {} | {} | {} |\n",
            row.title,
            row.cell(row.mailhorn),
            row.cell(row.dovecot),
            row.cell(row.bare),
            times(row.times(row.dovecot)),
            times(row.times(row.bare)),
            row.verdict()
        );
    }
    table
}

/// The rows as JSON.
pub(crate) fn json(command: &str, rows: &[Row]) -> Value {
    json!({ "command": command, "rows": rows.iter().map(Row::json).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_the_mean_of_the_two() {
        let table: [(&[f64], f64); 4] = [
            (&[7.0], 7.0),
            (&[9.0, 1.0, 2.0], 2.0),
            (&[4.0, 1.0], 2.5),
            (&[8.0, 2.0, 4.0, 1.0], 3.0),
        ];
        for (values, expected) in table {
            let middle = median(values.iter().copied());
            assert!((middle - expected).abs() < 1e-9, "{values:?}: {middle}");
        }
    }

    #[test]
    fn an_aim_is_met_or_missed_bound_by_bound_and_never_without_a_figure() {
        let cell = |value, ms| Cell {
            value,
            server_ms: Some(ms),
            client_ms: None,
        };
        let mut row = Row::new("poll", "polls/s", Unit::PerSecond, Aim::rate(8.0, 0.13));
        assert_eq!(
            row.verdict(),
            "≥ 8 × Dovecot: not measured; ≤ 0.13 ms CPU: not measured"
        );
        row.set(Kind::Mailhorn, cell(8_000.0, 0.2));
        row.set(Kind::Dovecot, cell(1_000.0, 1.0));
        assert_eq!(row.verdict(), "≥ 8 × Dovecot: met; ≤ 0.13 ms CPU: missed");
        let mut row = Row::new("start", "start", Unit::Milliseconds, Aim::at_most(50.0));
        row.set(Kind::Mailhorn, Cell::of(50.0));
        assert_eq!(row.verdict(), "≤ 50 ms: met");
    }

    #[test]
    fn a_row_shows_dashes_where_nothing_was_measured() {
        let mut row = Row::new("start", "start", Unit::Milliseconds, Aim::NONE);
        row.set(Kind::Mailhorn, Cell::of(12.345));
        let table = markdown(&[row]);
        assert_eq!(
            table.lines().last(),
            Some("| start | 12.3 ms | – | – | – | – |  |")
        );
    }
}
