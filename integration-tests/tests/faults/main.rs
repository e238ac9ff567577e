//! What breaks beside the node and must not break the node: a webhook's receiver, a full disk, a damaged journal, damaged
//! tables, space that does not come back, a stop in the middle of a transaction. What the node says of it is printed.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![allow(
    clippy::print_stdout,
    reason = "what the node said is what these tests are for"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "processes live in real time, and there is no clock to hand in"
)]

mod damage;
mod disk_full;
mod maildrop;
mod outage;
mod space;
mod stop;
