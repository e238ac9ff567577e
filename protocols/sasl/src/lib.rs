//! SASL mechanisms as values without I/O: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 5802, RFC 7677).
//!
//! This is the server's side. [`Mechanism::begin`] starts an exchange, and each [`Progress`] says what has
//! to happen next and owns the state that goes on from there, so an exchange cannot be fed out of turn.
//!
//! ```
//! use mailhorn_sasl::{Mechanism, Progress};
//!
//! let Progress::CheckPassword { user, password } = Mechanism::Plain.begin(Some(b"\0tim\0tanstaaftanstaaf")) else {
//!     panic!("PLAIN needs nothing more than its one message");
//! };
//! assert_eq!(user, "tim");
//! assert_eq!(password.declassify(), b"tanstaaftanstaaf");
//! assert_eq!(format!("{password:?}"), "Secret(..)");
//! ```
//!
//! What is deliberately absent: sockets, the protocols' own AUTH commands, the user database, time, and
//! randomness (a server nonce is handed in). Channel binding (`-PLUS`) is not offered.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice
)]

mod encoding;
mod exchange;
mod keys;
mod prepare;
mod scram;
mod secret;

pub use encoding::{decode, encode};
pub use exchange::{Exchange, Malformed, Mechanism, Progress};
pub use keys::{KeysError, StoredKeys};
pub use prepare::prepare_name;
pub use scram::{KeysAwaited, ServerNonce};
pub use secret::Secret;

/// The most octets of one decoded response.
///
/// PLAIN and SCRAM need a few hundred; RFC 4616 §2 and RFC 5034 §4 leave the limit to the server and ask for
/// some generosity.
pub const RESPONSE_OCTETS_MAX: usize = 12_288;

/// The most octets of one response on the wire, in base64 and without its line end:
/// [`RESPONSE_OCTETS_MAX`] × 4 / 3.
pub const RESPONSE_ENCODED_OCTETS_MAX: usize = 16_384;

/// The most octets of a user name after preparation.
pub const NAME_OCTETS_MAX: usize = 255;

/// The most octets of a password. A password hash reads all of them, so the limit is also one on work.
pub const PASSWORD_OCTETS_MAX: usize = 1_024;

/// The octets of a salt that we make (RFC 5802 sets no length). Accounts have salts of this length because
/// [`StoredKeys::fake`] has: another length would tell a real account from an invented one.
pub const SALT_OCTETS: usize = 16;

/// The fewest iterations of PBKDF2 that keys may be made with (RFC 7677 §4).
pub const ITERATIONS_MIN: u32 = 4_096;

/// The most iterations of PBKDF2: the client has to do as many, and so has whoever sets a password here.
pub const ITERATIONS_MAX: u32 = 10_000_000;

/// The most octets of the client's part of a SCRAM nonce. Clients send between 16 and 64.
pub const CLIENT_NONCE_OCTETS_MAX: usize = 256;
