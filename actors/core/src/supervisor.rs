//! The supervisor: starts the actors that a node can't be without, and starts them anew when they end.
//!
//! **Owns** the factories of its children and the budget of their restarts. **Guarantees** that a child that panics
//! or fails is replaced by a fresh one, after a pause that grows, and that an essential child that fails over and over ends the
//! node (whoever runs the node starts it again, and sees that it was needed). **Never** carries a child's state over.
//!
//! actix has a supervisor of its own that does neither: it does not restart after a panic, and after a stop it goes
//! on with the same struct. So children own an [`ExitGuard`], which reports while a panic unwinds.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::observe::{Alive, Kind};

/// The pause before the first restart.
pub const RESTART_PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause before a restart.
pub const RESTART_PAUSE_MAX: Duration = Duration::from_secs(5);
/// So many ends of one child within [`RESTART_WINDOW`] end the node.
pub const RESTARTS_MAX: usize = 10;
/// How long an end counts.
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As it was asked to: it is not started again.
    Stopped,
    /// It could not go on.
    Failed,
    /// A handler panicked.
    Panicked,
    /// The lease on this process's log is over: no child can go on under its generation, so it is not started again.
    LeaseLost,
}

/// Why the node has to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// A part of it could not be kept alive.
    #[error("{0} failed too often to be started again")]
    FailsTooOften(Arc<str>),
    /// The lease on this process's log is over. The node may go on with a new generation.
    #[error("the lease on the log was lost")]
    LeaseLost,
}

/// A child has ended. Sent by its [`ExitGuard`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct ChildExited {
    child: Arc<str>,
    how: Exit,
}

/// Supervise this child from now on, and start it.
pub struct Supervise {
    /// Its name, unique among the supervisor's children.
    pub child: Arc<str>,
    /// The counters of its kind.
    pub kind: Arc<Kind>,
    /// Whether the node ends when it fails over and over. Without it a child is restarted for ever, at the longest pause.
    pub essential: bool,
    /// Starts a fresh child, which keeps the guard.
    pub factory: Box<dyn FnMut(ExitGuard) + Send>,
}

impl fmt::Debug for Supervise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervise")
            .field("child", &self.child)
            .finish_non_exhaustive()
    }
}

impl Message for Supervise {
    type Result = ();
}

/// Tells the supervisor how its owner ended.
#[derive(Debug)]
pub struct ExitGuard {
    child: Arc<str>,
    how: Exit,
    supervisor: Recipient<ChildExited>,
}

impl ExitGuard {
    /// The child is about to end, in this way. Without this call its end is a failure.
    pub fn ends(&mut self, how: Exit) {
        self.how = how;
    }
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let how = if std::thread::panicking() {
            Exit::Panicked
        } else {
            self.how
        };
        // Every handle may put at least one message into the queue, and this is the handle's only one. What can
        // fail is a supervisor that is gone, and with it the node.
        if self
            .supervisor
            .try_send(ChildExited {
                child: Arc::clone(&self.child),
                how,
            })
            .is_err()
        {
            tracing::debug!(child = &*self.child, ?how, "a child ended after its supervisor");
        }
    }
}

/// Decides what follows a child's end. Plain, so that it is tested without a runtime.
#[derive(Debug, Default)]
pub struct Budget {
    ends: VecDeque<Instant>,
}

/// What follows a child's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: it was asked to stop.
    Leave,
    /// Start it again after a pause.
    Restart(Duration),
    /// It fails too often: the node ends.
    GiveUp,
    /// The node ends: its log has.
    EndLife,
}

impl Budget {
    /// A child ended at `now`, like this.
    pub fn ended(&mut self, now: Instant, how: Exit) -> Decision {
        match how {
            Exit::Stopped => return Decision::Leave,
            Exit::LeaseLost => return Decision::EndLife,
            Exit::Failed | Exit::Panicked => {}
        }
        while self
            .ends
            .front()
            .is_some_and(|end| now.duration_since(*end) > RESTART_WINDOW)
        {
            self.ends.pop_front();
        }
        self.ends.push_back(now);
        if self.ends.len() > RESTARTS_MAX {
            return Decision::GiveUp;
        }
        let doublings = u32::try_from(self.ends.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = RESTART_PAUSE_MIN.saturating_mul(2u32.saturating_pow(doublings));
        Decision::Restart(pause.min(RESTART_PAUSE_MAX))
    }
}

struct Child {
    kind: Arc<Kind>,
    essential: bool,
    factory: Box<dyn FnMut(ExitGuard) + Send>,
    budget: Budget,
}

/// The supervisor of a node.
pub struct Supervisor {
    children: BTreeMap<Arc<str>, Child>,
    /// Told why the node has to end.
    fatal: mpsc::Sender<Fatal>,
    kind: Arc<Kind>,
    alive: Option<Alive>,
}

impl fmt::Debug for Supervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervisor")
            .field("children", &self.children.keys())
            .finish_non_exhaustive()
    }
}

impl Supervisor {
    /// A supervisor without children, which tells `fatal` when the node has to end.
    #[must_use]
    pub fn new(kind: Arc<Kind>, fatal: mpsc::Sender<Fatal>) -> Self {
        Self {
            children: BTreeMap::new(),
            fatal,
            kind,
            alive: None,
        }
    }

    /// The first reason counts.
    fn end_node(&self, why: Fatal) {
        if let Err(unsent) = self.fatal.try_send(why) {
            tracing::debug!(why = %unsent, "the node is ending already");
        }
    }

    fn start_child(&mut self, name: &Arc<str>, ctx: &Context<Self>) {
        if let Some(child) = self.children.get_mut(name) {
            let guard = ExitGuard {
                child: Arc::clone(name),
                how: Exit::Failed,
                supervisor: ctx.address().recipient(),
            };
            (child.factory)(guard);
        }
    }
}

impl Actor for Supervisor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.alive = Some(self.kind.born());
    }
}

impl Handler<Supervise> for Supervisor {
    type Result = ();

    fn handle(&mut self, message: Supervise, ctx: &mut Self::Context) {
        let Supervise {
            child,
            kind,
            essential,
            factory,
        } = message;
        self.children.insert(
            Arc::clone(&child),
            Child {
                kind,
                essential,
                factory,
                budget: Budget::default(),
            },
        );
        self.start_child(&child, ctx);
    }
}

impl Handler<ChildExited> for Supervisor {
    type Result = ();

    fn handle(&mut self, ChildExited { child: name, how }: ChildExited, ctx: &mut Self::Context) {
        let Some(child) = self.children.get_mut(&name) else {
            return;
        };
        let decision = match child.budget.ended(Instant::now(), how) {
            Decision::GiveUp if !child.essential => Decision::Restart(RESTART_PAUSE_MAX),
            decision => decision,
        };
        match decision {
            Decision::Leave => {
                self.children.remove(&name);
            }
            Decision::Restart(pause) => {
                tracing::warn!(
                    child = &*name,
                    ?how,
                    pause_ms = pause.as_millis(),
                    "an actor ended and is started again"
                );
                ctx.run_later(pause, move |act, ctx| {
                    if let Some(child) = act.children.get(&name) {
                        child.kind.restarted();
                    }
                    act.start_child(&name, ctx);
                });
            }
            Decision::GiveUp => {
                tracing::error!(child = &*name, ?how, "an actor fails too often: the node ends");
                self.end_node(Fatal::FailsTooOften(name));
            }
            Decision::EndLife => {
                self.children.remove(&name);
                self.end_node(Fatal::LeaseLost);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Kinds;

    #[test]
    fn pauses_grow_and_too_many_ends_give_up() {
        let mut budget = Budget::default();
        let now = Instant::now();
        assert_eq!(budget.ended(now, Exit::Stopped), Decision::Leave);
        assert_eq!(budget.ended(now, Exit::LeaseLost), Decision::EndLife);
        let pauses: Vec<_> = (0..RESTARTS_MAX)
            .map(|_| budget.ended(now, Exit::Panicked))
            .collect();
        assert_eq!(pauses[0], Decision::Restart(Duration::from_millis(50)));
        assert_eq!(pauses[1], Decision::Restart(Duration::from_millis(100)));
        assert_eq!(pauses[RESTARTS_MAX - 1], Decision::Restart(RESTART_PAUSE_MAX));
        assert_eq!(budget.ended(now, Exit::Failed), Decision::GiveUp);
    }

    #[test]
    fn old_ends_are_forgiven() {
        let mut budget = Budget::default();
        let now = Instant::now();
        for _ in 0..RESTARTS_MAX {
            budget.ended(now, Exit::Failed);
        }
        let later = now + RESTART_WINDOW + Duration::from_secs(1);
        assert_eq!(
            budget.ended(later, Exit::Failed),
            Decision::Restart(RESTART_PAUSE_MIN)
        );
    }

    #[derive(Message)]
    #[rtype(result = "u32")]
    struct Count;

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Panic;

    struct Counter {
        count: u32,
        _guard: ExitGuard,
    }

    impl Actor for Counter {
        type Context = Context<Self>;
    }

    impl Handler<Count> for Counter {
        type Result = u32;
        fn handle(&mut self, _: Count, _: &mut Self::Context) -> u32 {
            self.count += 1;
            self.count
        }
    }

    impl Handler<Panic> for Counter {
        type Result = ();
        fn handle(&mut self, _: Panic, _: &mut Self::Context) {
            std::panic::resume_unwind(Box::new("on purpose"));
        }
    }

    #[actix::test]
    async fn a_child_that_panics_in_a_handler_is_replaced_by_a_fresh_one() {
        let kinds = Kinds::default();
        let (fatal, _ended) = mpsc::channel(1);
        let supervisor = Supervisor::new(Arc::clone(&kinds.supervisor), fatal).start();
        let (told, mut addresses) = mpsc::channel(8);
        let factory = move |guard| {
            let counter = Counter {
                count: 0,
                _guard: guard,
            }
            .start();
            told.try_send(counter).unwrap();
        };
        let child = Supervise {
            child: "counter".into(),
            kind: Arc::clone(&kinds.log),
            essential: true,
            factory: Box::new(factory),
        };
        supervisor.send(child).await.unwrap();
        let first = addresses.recv().await.unwrap();
        assert_eq!(first.send(Count).await.unwrap(), 1);
        assert!(first.send(Panic).await.is_err());
        let second = addresses.recv().await.unwrap();
        assert_eq!(second.send(Count).await.unwrap(), 1, "no state is carried over");
        assert_eq!(kinds.log.snapshot().restarted, 1);
    }
}
