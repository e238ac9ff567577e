//! The operation log: who did what to which mailbox, one line of JSON an event, in a file.
//!
//! ```json
//! {
//!   "time": "2026-01-01T00:00:00.000001Z",
//!   "event": "00000000-0000-0000-0000-000000001111",
//!   "position": "00000000-0000-0000-0000-000000004444/7/0",
//!   "kind": "Added",
//!   "user": "ann@example.org",
//!   "account": "00000000-0000-0000-0000-000000002222",
//!   "mailbox": "00000000-0000-0000-0000-000000003333",
//!   "arrival": "delivered",
//!   "message_count": 1,
//!   "octets": 4096,
//!   "messages": ["019b76da-a800-7000-8909-090909090909"]
//! }
//! ```
//!
//! `time` is the event's stamp, `position` the log, the record and the event in it. Nothing of a message's content is
//! written, nor of its envelope. Events come at least once: **one that is repeated is a line that is repeated, with the
//! same `event`**. Lines of one mailbox are in the order of what happened; lines of several are not.
//!
//! After a crash or a full disk a line may have been cut off. The next one begins on a line of its own, and the one that
//! was cut off comes again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use mailhorn_events::{Acl, Arrival, Happened, Happening, MailboxId, MessageId, QuotaLimits, QuotaRoot};
use mailhorn_ports::{BatchHandled, Handled, Listener, ListenerOptions};
use parking_lot::Mutex;
use serde::Serialize;

/// Message ids that a line names at most, and mailboxes of [`Happening::MessageMoved`] on either side. `message_count` says
/// how many there were.
pub const IDS_MAX: usize = 32;

/// Events that are written at a time at most, with [`OperationLog::listener_options`].
pub const BATCH_MAX: usize = 256;

/// A line is for its owner alone: it says who gets mail when.
const MODE: u32 = 0o600;

/// Writes the operation log.
///
/// # Blocking
///
/// Files are written and synced on the caller's thread. A group has a thread of its own, nothing but its listener waits,
/// and a batch is one write of some kilobytes: to send that to another thread would cost more. Where several groups share
/// a thread, a slow disk slows the others.
#[derive(Debug)]
pub struct OperationLog {
    path: PathBuf,
    file: Mutex<Option<File>>,
}

impl OperationLog {
    /// Appends to the file at `path`, which is made if it is not there, for its owner alone (mode 0600); the mode of one
    /// that is there stays. When it is renamed or removed later, a new one is made in its place.
    ///
    /// # Errors
    ///
    /// When it can't be opened for reading and appending.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = open(&path)?;
        Ok(Self {
            path,
            file: Mutex::new(Some(file)),
        })
    }

    /// How its group is best run: one call at a time, with many events in it.
    #[must_use]
    pub fn listener_options() -> ListenerOptions {
        ListenerOptions {
            concurrency: 1,
            batch_max: BATCH_MAX,
            ..ListenerOptions::default()
        }
    }

    /// Writes lines, all in one. They are on the disk when it returns, so that none is lost that the group won't repeat.
    fn append(&self, lines: &[u8]) -> io::Result<()> {
        let mut current = self.file.lock();
        let kept = current.take().filter(|file| is_at(file, &self.path));
        let mut file = match kept {
            Some(file) => file,
            None => open(&self.path)?,
        };
        file.write_all(lines)?;
        file.sync_data()?;
        // After an error it is opened again, which finds out whether a line was cut off.
        *current = Some(file);
        Ok(())
    }
}

/// Opens the file, and ends a line that was cut off. One that is made is there by name when it returns, or a power cut would
/// take it with all that was synced into it.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(MODE);
    let mut file = match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let file = options.create(true).open(path)?;
            sync_folder_of(path)?;
            file
        }
        opened => opened?,
    };
    if file.metadata()?.len() > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
        }
    }
    Ok(file)
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        // A name alone is one in the working folder.
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// Whether the path still leads to the file.
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |seen: io::Result<std::fs::Metadata>| seen.map(|seen| (seen.dev(), seen.ino())).ok();
    let here = identity(file.metadata());
    here.is_some() && here == identity(std::fs::metadata(path))
}

#[async_trait]
impl Listener for OperationLog {
    async fn handle(&self, happened: &Happened) -> Handled {
        self.handle_batch(std::slice::from_ref(happened)).await.then
    }

    async fn handle_batch(&self, batch: &[Happened]) -> BatchHandled {
        let mut lines = Vec::new();
        for happened in batch {
            line(happened, &mut lines);
        }
        match self.append(&lines) {
            Ok(()) => BatchHandled::all(batch.len()),
            // How far it came is not known: all of them again.
            Err(error) => BatchHandled {
                done: 0,
                then: Handled::NotNow(format!("{}: {error}", self.path.display())),
            },
        }
    }
}

#[derive(Serialize)]
struct Line<'a> {
    time: String,
    event: String,
    position: String,
    kind: &'static str,
    user: &'a str,
    account: String,
    mailbox: Option<String>,
    #[serde(flatten)]
    what: What<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    Added {
        arrival: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        from_mailbox: Option<String>,
        message_count: usize,
        octets: u64,
        messages: Vec<String>,
    },
    Expunged {
        #[serde(skip_serializing_if = "Option::is_none")]
        moved_to: Option<String>,
        message_count: usize,
        octets: u64,
        messages: Vec<String>,
    },
    Messages {
        message_count: usize,
        messages: Vec<String>,
    },
    Mailbox {
        name: &'a str,
    },
    Renamed {
        from: &'a str,
        to: &'a str,
    },
    Deleted {
        name: &'a str,
        message_count: u64,
        octets: u64,
    },
    Acl {
        name: &'a str,
        before: &'a Acl,
        after: &'a Acl,
    },
    Moved {
        from_mailboxes: Vec<String>,
        to_mailboxes: Vec<String>,
        message_count: usize,
        messages: Vec<String>,
    },
    ContentDeleted {
        message_count: usize,
        octets: u64,
        messages: Vec<String>,
    },
    QuotaUsage {
        root: String,
        message_count: u64,
        octets: u64,
        limits: Limits,
        reached_percent: u8,
        before_percent: u8,
    },
    QuotaLimits {
        root: String,
        before: Limits,
        after: Limits,
    },
}

#[derive(Serialize)]
struct Limits {
    messages: Option<u64>,
    octets: Option<u64>,
}

impl From<&QuotaLimits> for Limits {
    fn from(limits: &QuotaLimits) -> Self {
        Self {
            messages: limits.messages,
            octets: limits.octets,
        }
    }
}

fn line(happened: &Happened, lines: &mut Vec<u8>) {
    let (event, position) = (happened.event(), happened.position());
    let line = Line {
        time: time(happened.stamp().0),
        event: happened.id().to_string(),
        position: format!("{}/{}/{}", position.generation, position.number, happened.index()),
        kind: event.happening.name(),
        user: &event.user,
        account: event.account.to_string(),
        mailbox: event.mailbox.map(|mailbox| mailbox.to_string()),
        what: what(&event.happening),
    };
    // Serialising these plain types into memory has no way to fail.
    if let Err(error) = serde_json::to_writer(&mut *lines, &line) {
        unreachable!("a line of plain fields was not serialisable: {error}");
    }
    lines.push(b'\n');
}

/// RFC 3339, with microseconds, so that lines sort as text.
fn time(micros: u64) -> String {
    let micros = i64::try_from(micros).unwrap_or(i64::MAX);
    let time = Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX);
    format!("{time:.6}")
}

fn what(happening: &Happening) -> What<'_> {
    match happening {
        Happening::Added { arrival, messages } => {
            let (arrival, from_mailbox) = how(*arrival);
            What::Added {
                arrival,
                from_mailbox,
                message_count: messages.len(),
                octets: messages.iter().map(|message| message.size).sum(),
                messages: ids(messages.iter().map(|message| message.message)),
            }
        }
        Happening::Expunged { moved_to, messages } => What::Expunged {
            moved_to: moved_to.map(|mailbox| mailbox.to_string()),
            message_count: messages.len(),
            octets: messages.iter().map(|message| message.size).sum(),
            messages: ids(messages.iter().map(|message| message.message)),
        },
        Happening::FlagsUpdated(messages) => What::Messages {
            message_count: messages.len(),
            messages: ids(messages.iter().map(|message| message.message)),
        },
        Happening::MailboxAdded { name }
        | Happening::MailboxSubscribed { name }
        | Happening::MailboxUnsubscribed { name } => What::Mailbox { name },
        Happening::MailboxRenamed { from, to } => What::Renamed { from, to },
        Happening::MailboxDeleted {
            name,
            messages,
            octets,
        } => What::Deleted {
            name,
            message_count: *messages,
            octets: *octets,
        },
        Happening::MailboxAclUpdated { name, before, after } => What::Acl { name, before, after },
        Happening::MessageMoved { from, to, messages } => What::Moved {
            from_mailboxes: mailboxes(from),
            to_mailboxes: mailboxes(to),
            message_count: messages.len(),
            messages: ids(messages.iter().copied()),
        },
        Happening::MessageContentDeleted(messages) => What::ContentDeleted {
            message_count: messages.len(),
            octets: messages.iter().map(|message| message.octets).sum(),
            messages: ids(messages.iter().map(|message| message.message)),
        },
        Happening::QuotaUsageUpdated(usage) => What::QuotaUsage {
            root: root(&usage.root),
            message_count: usage.messages,
            octets: usage.octets,
            limits: Limits::from(&usage.limits),
            reached_percent: usage.reached_percent,
            before_percent: usage.before_percent,
        },
        Happening::QuotaLimitsUpdated {
            root: of,
            before,
            after,
        } => What::QuotaLimits {
            root: root(of),
            before: Limits::from(before),
            after: Limits::from(after),
        },
    }
}

fn how(arrival: Arrival) -> (&'static str, Option<String>) {
    match arrival {
        Arrival::Delivered => ("delivered", None),
        Arrival::Appended => ("appended", None),
        Arrival::Moved(from) => ("moved", Some(from.to_string())),
        Arrival::Copied(from) => ("copied", Some(from.to_string())),
    }
}

/// `user`, or `domain:` and its name.
fn root(root: &QuotaRoot) -> String {
    match root {
        QuotaRoot::User => "user".into(),
        QuotaRoot::Domain(domain) => format!("domain:{domain}"),
    }
}

fn ids(messages: impl Iterator<Item = MessageId>) -> Vec<String> {
    messages.take(IDS_MAX).map(|id| id.to_string()).collect()
}

fn mailboxes(mailboxes: &[MailboxId]) -> Vec<String> {
    mailboxes.iter().take(IDS_MAX).map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests;
