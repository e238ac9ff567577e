//! What nodes need of each other, on Redis 7: who is registered for what, the fast path of frames, maildrop locks.
//!
//! Redis is never the truth. Stop it, wipe it, freeze it: events come later, and nothing is lost. So every call has a
//! short deadline, a breaker keeps callers from waiting for a server that does not answer, and what Redis lost is
//! noticed.
//!
//! [`Redis`] is all three ports at once. Each of its calls is one round trip, of many keys several; what belongs together
//! lies in one slot, so that one server, Sentinels and a Redis Cluster are used in one way.
//!
//! # What lies in Redis
//!
//! Every key begins with the namespace ([`Options::namespace`]) and the version of this layout.
//!
//! | Key | Type | What it is | Lifetime |
//! | --- | --- | --- | --- |
//! | `NS:1:{registry-NN}:epoch` | string | random, set where it is missing; one for each of 16 parts of the registry | – |
//! | `NS:1:{registry-NN}:m:MAILBOX` | sorted set | the processes registered for a mailbox; the score is the end of the lease, milliseconds by Redis' clock | the last lease |
//! | `NS:1:{registry-NN}:u:ACCOUNT` | sorted set | the same for a user | the last lease |
//! | `NS:1:{registry-NN}:of:GENERATION` | set | the keys above for which a process is registered | its last lease |
//! | `NS:1:{inbox-GENERATION}:frames` | stream | frames on their way to a process; field `f` | 60 s after the last frame, or until they are read |
//! | `NS:1:{inbox-GENERATION}:state` | hash | `octets` of those frames; `lost`: frames pushed out so far, for want of room | 60 s after the last frame |
//! | `NS:1:lock:MAILBOX` | string | the token that holds a maildrop, in hexadecimal | as asked for |
//!
//! An epoch counts together with the server's run id: a server that was started anew from an old dump, or a replica that
//! took over, may have lost registrations although its epoch is there.
//!
//! What is deliberately absent: membership and logs (they are durable and lie elsewhere), pub/sub (it says nothing to
//! one who was away), a second client library.

mod breaker;
mod connect;
mod error;
mod keys;
mod link;
mod locks;
mod node;
mod options;
mod registry;
#[cfg(feature = "testkit")]
pub mod testkit;
mod tls;
mod transport;
mod url;
mod value;

pub use breaker::BreakerState;
pub use error::OpenError;
pub use link::Health;
pub use node::Redis;
pub use options::{
    DEADLINE, INBOX_FRAMES_MAX, INBOX_OCTETS_MAX, Notices, Options, RECEIVE_WAIT, Surroundings,
};
pub use url::{RedisUrl, RedisUrlError};
