//! Redis as a node has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mailhorn_events::Generation;
use parking_lot::Mutex;
use redis::{Cmd, Pipeline};

use crate::connect::Connector;
use crate::error::OpenError;
use crate::keys::Keys;
use crate::link::{Health, Link};
use crate::options::{Options, Surroundings};
use crate::registry::Epochs;
use crate::transport::{Inbox, Pushed};
use crate::url::RedisUrl;

/// Redis as a [`Registry`](mailhorn_ports::Registry), a [`Transport`](mailhorn_ports::Transport) and
/// [`MaildropLocks`](mailhorn_ports::MaildropLocks). Clones share everything.
#[derive(Debug, Clone)]
pub struct Redis(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) link: Link,
    pub(crate) keys: Keys,
    pub(crate) options: Options,
    pub(crate) surroundings: Surroundings,
    pub(crate) epochs: Mutex<Epochs>,
    /// Of each process for which frames are received here; that is one.
    pub(crate) inboxes: Mutex<BTreeMap<Generation, Arc<Inbox>>>,
    pub(crate) pushed: Pushed,
    connector: Arc<Connector>,
}

impl Redis {
    /// A client of the Redis at `url`. Reads certificates; connects to nobody before the first call.
    ///
    /// # Errors
    ///
    /// An operator's mistake, named by its setting.
    pub fn new(url: RedisUrl, options: Options, surroundings: Surroundings) -> Result<Self, OpenError> {
        let keys = Keys::new(&options.namespace).ok_or(OpenError::Namespace)?;
        let connector = Arc::new(Connector::new(url, options.ca_file.as_deref())?);
        let link = Link::new(Arc::clone(&connector), surroundings.clone(), options.deadline);
        Ok(Self(Arc::new(Shared {
            link,
            keys,
            options,
            surroundings,
            epochs: Mutex::default(),
            inboxes: Mutex::default(),
            pushed: Pushed::default(),
            connector,
        })))
    }

    /// Pings Redis, unless it did not answer lately, and tells how it is. Takes the deadline of a call at most.
    pub async fn health(&self) -> Health {
        self.0.link.health().await
    }

    /// A link of its own, for what waits in Redis.
    pub(crate) fn another_link(&self) -> Link {
        Link::new(
            Arc::clone(&self.0.connector),
            self.0.surroundings.clone(),
            self.0.options.deadline,
        )
    }
}

/// A script over keys in one slot. Its text goes with every call, a few hundred octets: so there is no server that does
/// not know it, whatever was started anew or took over.
pub(crate) fn eval(script: &str, keys: &[String], arguments: &[&[u8]]) -> Cmd {
    let mut cmd = redis::cmd("EVAL");
    cmd.arg(script).arg(keys.len()).arg(keys).arg(arguments);
    cmd
}

/// A step of one command.
pub(crate) fn step(cmd: Cmd) -> Pipeline {
    let mut step = Pipeline::with_capacity(1);
    step.add_command(cmd);
    step
}

/// Milliseconds as Redis takes them: whole, rounded up, at least one.
pub(crate) fn millis(duration: Duration) -> String {
    duration.as_micros().div_ceil(1_000).max(1).to_string()
}
