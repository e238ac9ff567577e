//! Settings that are one of a few words.

use super::{Value, quoted};

/// A setting that is one of a few words.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)* }

        impl $name {
            /// The settings' word for it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl Value for $name {
            fn allowed() -> String {
                [$(concat!("\"", $word, "\"")),*].join(" or ")
            }

            fn parse(text: &str) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)*
                    _ => None,
                }
            }

            fn to_toml(&self) -> String {
                quoted(self.word())
            }
        }
    };
}

choice!(
    /// Where mail is kept.
    Backend {
        /// In the data folder.
        Embedded = "embedded",
        /// In Cassandra: for many nodes.
        Cassandra = "cassandra",
    }
);

choice!(
    /// Who may send with an address of a local domain.
    LocalSenders {
        /// Anyone.
        Anyone = "anyone",
        /// Who has logged in, with an address of their own.
        Authenticated = "authenticated",
    }
);

choice!(
    /// Which nodes of a cluster get an event by the fast path.
    Transport {
        /// Those that have registered for its mailbox or user.
        Registered = "registered",
        /// All.
        Broadcast = "broadcast",
    }
);

choice!(
    /// How many sessions may have a maildrop open.
    Lock {
        /// One.
        Exclusive = "exclusive",
        /// As many as the limit of sessions a user.
        Shared = "shared",
    }
);

choice!(
    /// Where a password may pass in clear.
    Plaintext {
        /// From the machine itself.
        Loopback = "loopback",
        /// Nowhere: only inside TLS.
        Never = "never",
        /// Everywhere.
        Always = "always",
    }
);

choice!(
    /// The oldest version of TLS that is spoken.
    TlsVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
);

choice!(
    /// When SCRAM is offered.
    Scram {
        /// While every account that may log in has keys for it.
        Auto = "auto",
        /// Always.
        On = "on",
        /// Never.
        Off = "off",
    }
);

choice!(
    /// How the log is written.
    LogFormat {
        /// Lines for people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
);
