//! Every limit of the crate, with its unit and where it comes from.

use std::num::{NonZeroU8, NonZeroU32};

/// The longest command line, in octets with its line end. RFC 5321 §4.5.3.1.4 asks for 512, RFC 1870 §3 adds
/// 26 for `SIZE`, RFC 6152 §2 adds 17 for `BODY`, RFC 6531 §3.2 adds 10 for `SMTPUTF8` and RFC 4954 §3 adds 500 for
/// `AUTH`; the rest is room for parameters of extensions we do not have, so that they are answered with `555` instead of
/// being thrown away unread.
pub const COMMAND_LINE_OCTETS_MAX: usize = 2048;

/// The longest line of a SASL exchange, in octets with its line end, and of `AUTH` with its initial response.
/// RFC 4954 §4 takes 12288 for enough.
pub const AUTH_LINE_OCTETS_MAX: usize = 12_288;

/// Log-ins of a session that may fail before it ends with `421`, unless configured.
pub const LOG_IN_FAILURES_MAX_DEFAULT: NonZeroU8 = NonZeroU8::new(3).expect("three is not zero");

/// The longest local part, in octets as it is written in a path, quotes included (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_OCTETS_MAX: usize = 64;

/// The longest domain, in octets (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS_MAX: usize = 255;

/// The longest label of a domain, in octets (RFC 1035 §2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;

/// The longest address, in octets: a path has 256 with its angle brackets (RFC 5321 §4.5.3.1.3).
pub const ADDRESS_OCTETS_MAX: usize = 254;

/// The longest name a client may give itself, in octets: that of a domain (RFC 5321 §4.5.3.1.2).
pub const CLIENT_NAME_OCTETS_MAX: usize = 255;

/// Accepted recipients of one transaction unless configured. RFC 5321 §4.5.3.1.8 asks for at least 100.
pub const RECIPIENTS_MAX_DEFAULT: usize = 1000;

/// The largest message unless configured, in octets of content (RFC 1870 §5), dots un-stuffed.
pub const SIZE_OCTETS_MAX_DEFAULT: u64 = 50 * 1024 * 1024;

/// How many times [`crate::Options::size_octets_max`] a chunk that is refused may have to be read past. Beyond it the
/// connection is closed: a client that ignores `SIZE` by so much would keep it busy with nothing.
pub const REFUSED_CHUNK_SIZES_MAX: u64 = 4;

/// Commands of a session that may be wrong before it ends with `421`, unless configured.
pub const BAD_COMMANDS_MAX_DEFAULT: u32 = 20;

/// Messages of an SMTP connection unless configured.
pub const MESSAGES_MAX_DEFAULT: NonZeroU32 = NonZeroU32::new(1000).expect("a thousand is not zero");

/// `Received` fields, and `Delivered-To` fields, that a message may have before it counts as running in a circle. RFC 5321 §6.3 asks for a
/// threshold of at least 100.
pub const HOPS_MAX: u32 = 100;
