//! The kinds of value that the settings of listeners have.

use mailhorn_events::Happening;
use mailhorn_listeners::webhook;
use mailhorn_ports::GroupName;

use super::{Raw, Value, quoted};

/// A kind of event, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventKind(&'static str);

impl EventKind {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.0
    }
}

impl Value for EventKind {
    fn allowed() -> String {
        Happening::NAMES.join(", ")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut known = Happening::NAMES.into_iter();
        known.find(|name| *name == text).map(Self)
    }

    fn to_toml(&self) -> String {
        quoted(self.0)
    }
}

/// A part of a limit, in percent: 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(u8);

impl Percent {
    /// In percent.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Value for Percent {
    fn allowed() -> String {
        "a whole number from 1 to 100".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let percent: u8 = text.parse().ok()?;
        (1..=100).contains(&percent).then_some(Self(percent))
    }

    fn to_toml(&self) -> String {
        self.0.to_string()
    }
}

/// Where HTTP requests go. There is no user in it: what authenticates a request is not shown where settings are.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Value for HttpUrl {
    fn allowed() -> String {
        "an address without a user, such as \"http://127.0.0.1:8080/hook\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        webhook::url(text).ok().map(|_| Self(text.to_owned()))
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }

    /// Without what stands before an `@`: a user and a password where none may be.
    fn shown(raw: &Raw) -> String {
        let without_user = |text: &String| match text.rsplit_once('@') {
            Some((_, rest)) => format!("…@{rest}"),
            None => text.clone(),
        };
        let shown = match raw {
            Raw::One(text) => Raw::One(without_user(text)),
            Raw::Many(texts) => Raw::Many(texts.iter().map(without_user).collect()),
        };
        shown.to_string()
    }
}

impl Value for GroupName {
    fn allowed() -> String {
        "a group's name, such as \"webhook\"".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_kind_is_one_that_there_is_and_a_percentage_is_of_a_whole() {
        assert_eq!(EventKind::parse("Added").map(EventKind::name), Some("Added"));
        for unknown in ["added", "Lost", ""] {
            assert_eq!(EventKind::parse(unknown), None, "{unknown:?}");
        }
        assert_eq!(Percent::parse("100").map(Percent::get), Some(100));
        for none in ["0", "101", "80%", ""] {
            assert_eq!(Percent::parse(none), None, "{none:?}");
        }
    }

    #[test]
    fn a_url_has_a_host_and_a_scheme_that_can_be_spoken() {
        for good in [
            "http://localhost",
            "http://[::1]:8080/a?b",
            "https://example.org/x",
        ] {
            assert_eq!(HttpUrl::parse(good).as_ref().map(HttpUrl::as_str), Some(good));
        }
        for bad in [
            "",
            "example.org",
            "ftp://example.org",
            "http://",
            "/hook",
            "http://a b",
        ] {
            assert_eq!(HttpUrl::parse(bad), None, "{bad:?}");
        }
    }
}
