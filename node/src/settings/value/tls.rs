//! The kinds of value that the settings of TLS have.

use rustls::CipherSuite;
use rustls::crypto::ring::ALL_CIPHER_SUITES;

use super::{Raw, Value, quoted};

/// A cipher suite, by its name in IANA's registry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SuiteName(String);

impl SuiteName {
    /// Whether it is this one.
    #[must_use]
    pub fn is(&self, suite: CipherSuite) -> bool {
        iana_name(suite).is_some_and(|name| name == self.0)
    }

    /// Whether it is one of TLS 1.3, which have names of their own (RFC 8446 §B.4).
    #[must_use]
    pub fn is_of_tls13(&self) -> bool {
        !self.0.contains("_WITH_")
    }

    fn all() -> impl Iterator<Item = String> {
        ALL_CIPHER_SUITES
            .iter()
            .filter_map(|suite| iana_name(suite.suite()))
    }
}

/// rustls says `TLS13_` where the registry says `TLS_`.
fn iana_name(suite: CipherSuite) -> Option<String> {
    let name = suite.as_str()?;
    let of_tls13 = name.strip_prefix("TLS13_").map(|rest| format!("TLS_{rest}"));
    Some(of_tls13.unwrap_or_else(|| name.to_owned()))
}

impl Value for SuiteName {
    fn allowed() -> String {
        Self::all().collect::<Vec<_>>().join(", ")
    }

    fn parse(text: &str) -> Option<Self> {
        Self::all().find(|name| name == text).map(Self)
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }

    fn meant(raw: &Raw) -> Option<String> {
        let Raw::One(text) = raw else { return None };
        let likeness = |name: &String| strsim::jaro_winkler(name, &text.to_ascii_uppercase());
        Self::all().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_names_of_the_registry_and_the_nearest_is_proposed() {
        for name in ["TLS_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"] {
            let suite = SuiteName::parse(name).unwrap();
            assert_eq!(suite.to_toml(), format!("\"{name}\""));
            assert_eq!(suite.is_of_tls13(), name == "TLS_AES_128_GCM_SHA256");
        }
        assert!(
            SuiteName::parse("TLS_AES_128_GCM_SHA256")
                .unwrap()
                .is(CipherSuite::TLS13_AES_128_GCM_SHA256)
        );
        assert_eq!(SuiteName::parse("TLS13_AES_128_GCM_SHA256"), None);
        let list = Raw::One("TLS_AES_256_GCM_SHA384, tls_aes_128_gcm_sha265".into());
        assert_eq!(
            Vec::<SuiteName>::meant(&list).as_deref(),
            Some("TLS_AES_128_GCM_SHA256"),
            "of the one that is wrong"
        );
    }
}
