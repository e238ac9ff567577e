//! The actors: sessions, mailboxes, the log, network listeners, and their supervisor.

pub mod auth;
