//! A mail node: SMTP and LMTP in, POP3 out.
//!
//! This crate is the edge: settings, the command line, the admin HTTP server, and how the parts are wired together.
//! What mail is and what becomes of it is decided in the crates below.

pub mod admin;
pub mod cli;
pub mod client;
pub mod clock;
pub mod commands;
pub mod exit;
pub mod listeners;
pub mod operations;
pub mod options;
pub mod output;
pub mod private_files;
pub mod settings;
pub mod sse;
pub mod telemetry;
pub mod timestamp;
pub mod tls;
pub mod wiring;
