//! SMTP and LMTP as values without I/O: commands, replies, the data phase, the session.
//!
//! [`Session`] is the server's side of RFC 5321 (SMTP) and RFC 2033 (LMTP). Lines go in, [`Step`]s come out;
//! when the session needs to know something about the world it says so with one outstanding [`Ask`]. The
//! octets of a message never pass through the session: between [`Step::Data`] and [`Session::data_ended`]
//! the driver feeds a [`DataDecoder`] (of [`Step::Chunk`]: a [`ChunkDecoder`]) and puts what comes out of it
//! wherever messages are kept.
//!
//! The node takes mail for its own domains and nothing else, so there is no relaying and no queue here: what a
//! log-in gives is the right to a sender of ours ([`LocalSenders`]). `RFC.md` beside this crate lists what is claimed, where it is done and which test shows it.
//!
//! What is deliberately absent: sockets, time, a clock, and any knowledge of who the users are.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions,
    clippy::string_slice
)]

mod address;
mod chunk;
mod command;
mod content;
mod data;
pub mod limits;
mod loops;
mod parameters;
mod path;
mod reply;
mod session;
pub mod trace;
mod transmission;
mod turn;

pub use address::{Address, AddressError, Domain};
pub use chunk::ChunkDecoder;
pub use command::{ClientName, Command, SyntaxError};
pub use content::{ContentDecoder, DataEnd, Progress};
pub use data::DataDecoder;
pub use loops::LoopWatch;
pub use parameters::{BodyKind, MailParameters};
pub use path::{ForwardPath, ReversePath};
pub use reply::{Limit, Replies, Reply, banned, too_many_connections};
pub use session::{LocalSenders, Options, Peer, Protocol, Security, Session};
pub use transmission::{Hello, Transmission};
pub use turn::{Answer, Ask, DeliveryVerdict, Envelope, RecipientVerdict, SenderStanding, Step};
