//! What somebody has who writes a listener: only public API here, as in a crate elsewhere.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mailhorn_core::events::contract::{World, paused};
use mailhorn_events::{Event, EventId, Happened, Happening};
use mailhorn_listeners::operation_log::OperationLog;
use mailhorn_ports::{Handled, Listener, ListenerOptions};
use tokio::sync::mpsc;

/// Mailboxes that wait for the test at most.
const SEEN_MAX: usize = 64;

/// Tells of mailboxes that are made. While it is picky it can't do anything with one that is called `odd`.
#[derive(Debug)]
struct Mailboxes {
    is_picky: AtomicBool,
    tries: AtomicUsize,
    seen: mpsc::Sender<(EventId, String)>,
}

#[async_trait]
impl Listener for Mailboxes {
    fn handles(&self, event: &Event) -> bool {
        matches!(event.happening, Happening::MailboxAdded { .. })
    }

    async fn handle(&self, happened: &Happened) -> Handled {
        let Happening::MailboxAdded { name } = &happened.event().happening else {
            return Handled::Done;
        };
        if name == "odd" && self.is_picky.load(Ordering::SeqCst) {
            self.tries.fetch_add(1, Ordering::SeqCst);
            return Handled::Bad("what an odd name".into());
        }
        match self.seen.send((happened.id(), name.clone())).await {
            Ok(()) => Handled::Done,
            Err(_) => Handled::NotNow("nobody reads".into()),
        }
    }
}

/// How it is run here: three tries more, quick ones.
fn options() -> ListenerOptions {
    ListenerOptions {
        retries: 3,
        retry_pause: Duration::from_millis(5),
        ..ListenerOptions::default()
    }
}

#[test]
fn a_listener_of_ones_own_sees_fails_is_retried_gives_up_and_gets_it_again() {
    paused(async {
        let world = World::alone();
        let node = world.node("a").await;
        let (sender, mut seen) = mpsc::channel(SEEN_MAX);
        let listener = Arc::new(Mailboxes {
            is_picky: AtomicBool::new(true),
            tries: AtomicUsize::new(0),
            seen: sender,
        });
        node.group_with("mailboxes", &listener, options()).await;

        node.announce(World::event(1, "one")).await;
        node.announce(World::event(1, "odd")).await;
        let name = || "Work".to_owned();
        node.announce(World::happened(1, Happening::MailboxSubscribed { name: name() }))
            .await;
        node.announce(World::event(1, "two")).await;

        // The bad one is out of the way of those behind it.
        assert_eq!(seen.recv().await.map(|(_, name)| name).as_deref(), Some("one"));
        assert_eq!(seen.recv().await.map(|(_, name)| name).as_deref(), Some("two"));

        // It was tried once, and then as often as was asked for; what is left of it says why.
        let dead = node.wait_dead("mailboxes", 1).await;
        assert_eq!(listener.tries.load(Ordering::SeqCst), 4);
        assert_eq!((dead[0].attempts, dead[0].why.as_str()), (4, "what an odd name"));

        // Somebody mends the listener, and has the letter delivered again: the same event, by its id.
        listener.is_picky.store(false, Ordering::SeqCst);
        let group = "mailboxes".parse().unwrap();
        node.bus.redeliver(&group, dead[0].id).await.unwrap();
        assert_eq!(seen.recv().await, Some((dead[0].id, "odd".to_owned())));
        node.wait_idle("mailboxes").await;
        assert!(node.dead("mailboxes").await.is_empty());
        node.stop().await;
    });
}

#[test]
fn the_operation_log_is_a_listener_like_any_other() {
    paused(async {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("operations.log");
        let world = World::alone();
        let node = world.node("a").await;
        let log = Arc::new(OperationLog::open(&path).unwrap());
        node.group_with("operation-log", &log, OperationLog::listener_options())
            .await;
        for number in 0..1_000 {
            node.announce(World::event(number % 3, number)).await;
        }
        node.wait_idle("operation-log").await;
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1_000);
        node.stop().await;
    });
}
