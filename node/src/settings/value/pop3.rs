//! The kinds of value that POP3 announces.

use mailhorn_pop3::{Expire, Implementation};

use super::{Value, quoted};

impl Value for Expire {
    fn allowed() -> String {
        "\"NEVER\" or a number of days of at least 1 (0 would say that mail is deleted after it was retrieved, which the node \
         never does by itself)"
            .to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn to_toml(&self) -> String {
        quoted(self)
    }
}

impl Value for Implementation {
    fn allowed() -> String {
        format!(
            "a text of at most {} visible ASCII characters, with single spaces between its words",
            Self::OCTETS_MAX
        )
    }

    fn parse(text: &str) -> Option<Self> {
        Self::new(text)
    }

    fn to_toml(&self) -> String {
        quoted(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["NEVER", "30"] {
            assert_eq!(Expire::parse(text).unwrap().to_toml(), format!("{text:?}"));
        }
        assert_eq!(Expire::parse("0"), None);
        let odd = r#"Mail"horn\ 1"#;
        assert_eq!(
            Implementation::parse(odd).unwrap().to_toml(),
            r#""Mail\"horn\\ 1""#
        );
        assert_eq!(Implementation::parse("a  b"), None);
    }
}
