//! What session and driver tell each other: steps and asks one way, answers the other.

use crate::address::Address;
use crate::command::ClientName;
use crate::parameters::BodyKind;
use crate::path::ReversePath;
use crate::reply::{self, Replies, Reply};
use crate::transmission::Transmission;
use mailhorn_sasl::{Secret, ServerNonce, StoredKeys};

/// What is known of a message before its content comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The sender.
    pub reverse_path: ReversePath,
    /// The accepted recipients in the order of their `RCPT` commands, at least one. An address accepted twice
    /// is here twice, for LMTP answers each: deliver once and give the verdict twice.
    pub recipients: Vec<Address>,
    /// What `BODY=` said.
    pub body: BodyKind,
    /// What `SIZE=` said: a hint, not a promise.
    pub declared_octets: Option<u64>,
    /// The name the client gave itself.
    pub client: ClientName,
    /// How the message comes.
    pub transmission: Transmission,
}

/// What the session wants to know or have done. At most one is outstanding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Whose address is this, in the reverse-path? Answer with [`Answer::Sender`]. Only asked where
    /// [`crate::LocalSenders::Authenticated`] wants to know.
    Sender {
        /// The sender.
        address: Address,
    },
    /// Check the password. Answers: [`Answer::LoggedIn`], [`Answer::Refused`], [`Answer::Unavailable`].
    LogIn {
        /// The name, prepared (RFC 4013).
        user: String,
        /// The password as it was sent.
        password: Secret,
    },
    /// Look up the keys of a user, or make [`StoredKeys::fake`] ones, and a nonce. Answers: [`Answer::ScramKeys`],
    /// [`Answer::Unavailable`].
    ScramKeys {
        /// The name, prepared.
        user: String,
    },
    /// The proof was wrong: count it and wait as after a wrong password. Answer: [`Answer::Refused`].
    ScramRefused {
        /// The name, prepared.
        user: String,
    },
    /// The proof was right. Answers: those of [`Ask::LogIn`].
    ScramLogIn {
        /// The name, prepared.
        user: String,
    },
    /// May this address get a message of about `declared_octets` octets? Answer with [`Answer::Recipient`].
    Recipient {
        /// The recipient.
        address: Address,
        /// What `SIZE=` said.
        declared_octets: Option<u64>,
    },
    /// Deliver the content to the recipients of the [`Envelope`] that came with the last [`Step::Data`] or the
    /// first [`Step::Chunk`].
    /// Answer with [`Answer::Delivered`].
    Deliver,
}

/// What the driver found out or did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To [`Ask::Sender`].
    Sender(SenderStanding),
    /// Logged in.
    LoggedIn,
    /// The name or the password is wrong, or the account may not log in. The client does not learn which.
    Refused,
    /// A log-in can't be checked now.
    Unavailable,
    /// The keys for SCRAM and a nonce that is used once.
    ScramKeys {
        /// Real or fake.
        keys: StoredKeys,
        /// From a cryptographic source.
        nonce: ServerNonce,
    },
    /// To [`Ask::Recipient`].
    Recipient(RecipientVerdict),
    /// To [`Ask::Deliver`]: one for each of [`Envelope::recipients`], in their order. A verdict that is missing
    /// counts as [`DeliveryVerdict::Unavailable`]; one too many is not looked at.
    Delivered(Vec<DeliveryVerdict>),
}

/// Whose address a reverse-path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SenderStanding {
    /// Its domain is not ours.
    Elsewhere,
    /// Its domain is ours.
    Local,
    /// It belongs to the user who has logged in.
    Own,
    /// We do not know.
    Unavailable,
}

/// Whether a recipient is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecipientVerdict {
    /// `250 2.1.5`.
    Accepted,
    /// The domain is ours and the user is not: `550 5.1.1`.
    NoSuchUser,
    /// The domain is not ours: `550 5.7.1`.
    NotLocal,
    /// The mailbox has no room now, and may have later: `452 4.2.2`.
    MailboxFull,
    /// The message is larger than the mailbox may ever take: `552 5.2.2`.
    OverQuota,
    /// We do not know: `451 4.3.0`.
    Unavailable,
}

impl RecipientVerdict {
    pub(crate) fn reply(self) -> Reply {
        match self {
            Self::Accepted => reply::RECIPIENT_OK,
            Self::NoSuchUser => reply::NO_SUCH_USER,
            Self::NotLocal => reply::NOT_LOCAL,
            Self::MailboxFull => reply::MAILBOX_FULL,
            Self::OverQuota => reply::OVER_QUOTA,
            Self::Unavailable => reply::UNAVAILABLE,
        }
    }
}

/// What became of a message for one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryVerdict {
    /// It is in the mailbox, durably: `250 2.0.0`.
    Delivered,
    /// The mailbox has no room now: `452 4.2.2`.
    MailboxFull,
    /// The message is larger than the mailbox may ever take: `552 5.2.2`.
    OverQuota,
    /// The user was removed after `RCPT`: `550 5.1.1`.
    NoSuchUser,
    /// The mailbox has had it before ([`crate::LoopWatch::was_delivered_to`]): `554 5.4.6`.
    Looping,
    /// The node has no room: `452 4.3.1`.
    InsufficientStorage,
    /// It could not be delivered now, or it is unknown whether it was: `451 4.3.0`. The client tries again.
    Unavailable,
}

impl DeliveryVerdict {
    pub(crate) fn reply(self) -> Reply {
        match self {
            Self::Delivered => reply::DELIVERED,
            Self::MailboxFull => reply::MAILBOX_FULL,
            Self::OverQuota => reply::OVER_QUOTA,
            Self::NoSuchUser => reply::NO_SUCH_USER,
            Self::Looping => reply::LOOPING,
            Self::InsufficientStorage => reply::NO_STORAGE,
            Self::Unavailable => reply::UNAVAILABLE,
        }
    }
}

/// What the driver does next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this and read the next line.
    Reply(Replies),
    /// Send this, then feed a [`crate::DataDecoder`] until the content ends, and call
    /// [`crate::Session::data_ended`]. What the client has sent ahead (RFC 2920 forbids it) is the beginning of it.
    Data {
        /// `354`.
        reply: Replies,
        /// The driver's from now on; the session keeps none.
        envelope: Envelope,
    },
    /// Feed a [`crate::ChunkDecoder`], the same one for all chunks of a message, until this chunk ends, and call
    /// [`crate::Session::data_ended`]. Nothing is sent before. When the session is in no transaction any more
    /// ([`crate::Session::is_in_transaction`]), what came of the content is void.
    Chunk {
        /// With the first chunk; the driver's from now on, the session keeps none.
        envelope: Option<Envelope>,
        /// So many octets of content follow the command.
        octets: u64,
        /// Whether the content ends with them.
        last: bool,
    },
    /// Read past so many octets, which follow the command that was refused, then send this and read the next
    /// line. RFC 3030 §2: they are there in any case.
    SkipChunk {
        /// At most [`crate::limits::REFUSED_CHUNK_SIZES_MAX`] times the largest content.
        octets: u64,
        /// The refusal.
        reply: Replies,
    },
    /// Send this and close the connection.
    ReplyThenClose(Replies),
    /// Send this, begin TLS, and call [`crate::Session::tls_started`]. If the client has sent anything behind
    /// `STARTTLS` the driver closes without reading it: it would come from whoever sits in the middle and be
    /// obeyed as if it had come through TLS (CVE-2011-0411).
    ReplyThenTls(Replies),
    /// Find this out, or do it, and call [`crate::Session::answer`].
    Ask(Ask),
}
