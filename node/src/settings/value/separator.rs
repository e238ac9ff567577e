//! What parts an address from its detail.

use super::{Value, quoted};

/// Signs that a local part has without quotes (RFC 5321 §4.1.2) and that nobody's name needs.
const SIGNS: [char; 6] = ['+', '-', '_', '=', '#', '!'];

/// What parts a local part from its detail (RFC 5233).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Separator(pub char);

impl Value for Separator {
    fn allowed() -> String {
        "one of +, -, _, =, # and !".to_owned()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut signs = text.chars();
        let sign = signs.next().filter(|sign| SIGNS.contains(sign))?;
        signs.next().is_none().then_some(Self(sign))
    }

    fn to_toml(&self) -> String {
        quoted(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_is_one_sign_that_no_address_needs() {
        assert_eq!(Separator::parse("+"), Some(Separator('+')));
        for bad in ["", "++", "a", "@", ".", " "] {
            assert_eq!(Separator::parse(bad), None, "{bad:?}");
        }
    }
}
