//! The edge of a node's connections, over real sockets: certificates that change while it runs, and clients
//! behind a proxy, addresses that are not served any more, clients that are gone without a word, and what hostile clients come to.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(
    clippy::disallowed_methods,
    reason = "processes live in real time, and there is no clock to hand in"
)]

mod bans;
mod half_open;
mod hostile;
mod kit;
mod proxy;
mod tls;
