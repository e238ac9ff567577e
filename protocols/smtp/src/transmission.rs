//! How a message came, in the words of the "with" clause of `Received`.

/// How a message came (RFC 3848, RFC 6531 §4.3). Every word of the "with" clause is made here, and read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transmission {
    /// How the client introduced itself.
    pub hello: Hello,
    /// Whether TLS was on.
    pub tls: bool,
    /// Whether the client had logged in (RFC 4954).
    pub authenticated: bool,
    /// Whether `MAIL` had the parameter `SMTPUTF8`: addresses and header fields may be in UTF-8.
    pub smtputf8: bool,
}

/// The command by which a client introduces itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hello {
    /// `HELO`: SMTP without extensions.
    Helo,
    /// `EHLO`.
    Ehlo,
    /// `LHLO`.
    Lhlo,
}

/// What the registered words with SMTPUTF8 begin with, and no other does.
const UTF8: &str = "UTF8";

impl Transmission {
    /// The registered word. None is registered for `HELO` over TLS or after a log-in.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match (self.hello, self.smtputf8, self.tls, self.authenticated) {
            (Hello::Helo, false, _, _) => "SMTP",
            (Hello::Ehlo, false, false, false) => "ESMTP",
            (Hello::Ehlo, false, false, true) => "ESMTPA",
            (Hello::Ehlo, false, true, false) => "ESMTPS",
            (Hello::Ehlo, false, true, true) => "ESMTPSA",
            (Hello::Lhlo, false, false, false) => "LMTP",
            (Hello::Lhlo, false, false, true) => "LMTPA",
            (Hello::Lhlo, false, true, false) => "LMTPS",
            (Hello::Lhlo, false, true, true) => "LMTPSA",
            (Hello::Helo | Hello::Ehlo, true, false, false) => "UTF8SMTP",
            (Hello::Helo | Hello::Ehlo, true, false, true) => "UTF8SMTPA",
            (Hello::Helo | Hello::Ehlo, true, true, false) => "UTF8SMTPS",
            (Hello::Helo | Hello::Ehlo, true, true, true) => "UTF8SMTPSA",
            (Hello::Lhlo, true, false, false) => "UTF8LMTP",
            (Hello::Lhlo, true, false, true) => "UTF8LMTPA",
            (Hello::Lhlo, true, true, false) => "UTF8LMTPS",
            (Hello::Lhlo, true, true, true) => "UTF8LMTPSA",
        }
    }

    /// Whether a word of [`Transmission::as_str`] says that the message came with `SMTPUTF8`.
    pub(crate) fn word_says_smtputf8(word: &[u8]) -> bool {
        word.starts_with(UTF8.as_bytes())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every way in which a message may come.
    pub(crate) fn all() -> impl Iterator<Item = Transmission> {
        let flags = (0..8u8).map(|bits| (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0));
        flags.flat_map(|(tls, authenticated, smtputf8)| {
            [Hello::Helo, Hello::Ehlo, Hello::Lhlo].map(|hello| Transmission {
                hello,
                tls,
                authenticated,
                smtputf8,
            })
        })
    }

    /// RFC 3848 and the registry of mail transmission types.
    #[test]
    fn every_way_has_a_registered_word() {
        let registered = [
            "SMTP",
            "ESMTP",
            "ESMTPA",
            "ESMTPS",
            "ESMTPSA",
            "LMTP",
            "LMTPA",
            "LMTPS",
            "LMTPSA",
            "UTF8SMTP",
            "UTF8SMTPA",
            "UTF8SMTPS",
            "UTF8SMTPSA",
            "UTF8LMTP",
            "UTF8LMTPA",
            "UTF8LMTPS",
            "UTF8LMTPSA",
        ];
        let mut said: Vec<&str> = all().map(Transmission::as_str).collect();
        for word in &said {
            assert!(registered.contains(word), "{word}");
        }
        said.sort_unstable();
        said.dedup();
        assert_eq!(said.len(), registered.len(), "no word is left out");
    }

    #[test]
    fn a_word_says_what_is_true_of_the_transmission() {
        for transmission in all() {
            let word = transmission.as_str();
            let says = |what: bool, ending: &[&str]| {
                if transmission.hello != Hello::Helo || transmission.smtputf8 {
                    assert_eq!(what, ending.iter().any(|ending| word.ends_with(ending)), "{word}");
                }
            };
            says(transmission.tls, &["TPS", "TPSA"]);
            says(transmission.authenticated, &["TPA", "TPSA"]);
            assert_eq!(
                Transmission::word_says_smtputf8(word.as_bytes()),
                transmission.smtputf8
            );
        }
    }
}
