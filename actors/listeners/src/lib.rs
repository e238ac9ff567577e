//! Listeners that come with the house. They know the events and the ports, and nothing of actors: one of your own, in a
//! crate of your own, is made in the same way and has the same rights.
//!
//! # A listener of your own
//!
//! ```
//! use std::collections::HashMap;
//! use std::sync::{Arc, Mutex};
//!
//! use async_trait::async_trait;
//! use mailhorn_core::events::{EventBus, RegisterError};
//! use mailhorn_events::{AccountId, Event, Happened, Happening, Stamp};
//! use mailhorn_ports::{Handled, Listener, ListenerOptions, Scope};
//!
//! /// When each user got mail last.
//! #[derive(Debug, Default)]
//! struct LastMail(Mutex<HashMap<AccountId, Stamp>>);
//!
//! #[async_trait]
//! impl Listener for LastMail {
//!     fn handles(&self, event: &Event) -> bool {
//!         matches!(event.happening, Happening::Added { .. })
//!     }
//!
//!     async fn handle(&self, happened: &Happened) -> Handled {
//!         let Ok(mut last) = self.0.lock() else {
//!             return Handled::Bad("an earlier call panicked".into());
//!         };
//!         // An event may come twice, and between mailboxes in any order: the highest stamp is right whatever comes.
//!         let last = last.entry(happened.event().account).or_default();
//!         *last = happened.stamp().max(*last);
//!         Handled::Done
//!     }
//! }
//!
//! // The name is what its progress is kept under: it stays the same over releases.
//! async fn plug_in(bus: &EventBus) -> Result<(), RegisterError> {
//!     let name = "last-mail".parse().expect("a group's name");
//!     let listener = Arc::new(LastMail::default());
//!     bus.register_group(name, Scope::Local, listener, ListenerOptions::default()).await
//! }
//! ```
//!
//! `tests/third_party.rs` shows what becomes of the events that such a listener fails over.

pub mod operation_log;
pub mod quota;
pub mod webhook;

#[cfg(test)]
mod testing;
