//! Clauses of [`MaildropLocks`].

use std::time::Duration;

use mailhorn_events::MailboxId;
use tokio::time::Instant;
use uuid::Uuid;

use super::PATIENCE;
use crate::cluster::{Held, LockToken, MaildropLocks};

const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(100);
const ANN: LockToken = LockToken([1; 16]);
/// Octets that are no text, line ends among them.
const BOB: LockToken = LockToken([0, 13, 10, 255, 32, 34, 0, 128, 1, 2, 3, 4, 5, 6, 7, 0]);

/// Locks under test, none of them taken.
#[expect(async_fn_in_trait, reason = "a clause runs on the runtime of its own test")]
pub trait LocksPlace {
    /// The locks.
    type Locks: MaildropLocks;

    /// The locks.
    fn locks(&self) -> &Self::Locks;

    /// Loses everything at once, as a server that was wiped.
    async fn wipe(&self);
}

fn inbox(number: u128) -> MailboxId {
    MailboxId(Uuid::from_u128(number))
}

async fn hold<P: LocksPlace>(place: &P, token: LockToken, ttl: Duration) -> Held {
    place.locks().hold(inbox(1), token, ttl).await.unwrap()
}

async fn release<P: LocksPlace>(place: &P, token: LockToken) {
    place.locks().release(inbox(1), token).await.unwrap();
}

/// Waits until `token` gets the lock; gives when.
async fn taken<P: LocksPlace>(place: &P, token: LockToken) -> Instant {
    let began = Instant::now();
    while hold(place, token, LONG).await == Held::Others {
        assert!(began.elapsed() < PATIENCE, "a lock does not end");
        tokio::time::sleep(SHORT / 20).await;
    }
    Instant::now()
}

/// One gets a lock and another does not; another maildrop's is another.
pub async fn a_lock_is_taken_once<P: LocksPlace>(place: &P) {
    assert_eq!(hold(place, ANN, LONG).await, Held::Mine);
    assert_eq!(hold(place, BOB, LONG).await, Held::Others);
    assert_eq!(place.locks().hold(inbox(2), BOB, LONG).await.unwrap(), Held::Mine);
    assert_eq!(hold(place, ANN, LONG).await, Held::Mine);
}

/// Of many who ask at once one gets it.
pub async fn of_many_at_once_one_gets_it<P: LocksPlace>(place: &P) {
    let asked = (0..32u8).map(|number| place.locks().hold(inbox(1), LockToken([number; 16]), LONG));
    let mut asked: Vec<_> = asked.collect();
    let mut mine = 0;
    // All of them are on their way before the first is waited for.
    std::future::poll_fn(|cx| {
        asked.retain_mut(|asked| match asked.as_mut().poll(cx) {
            std::task::Poll::Ready(held) => {
                mine += usize::from(held.unwrap() == Held::Mine);
                false
            }
            std::task::Poll::Pending => true,
        });
        match asked.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    assert_eq!(mine, 1);
}

/// Who is refused does not change how long the holder holds: asking neither shortens nor extends it.
pub async fn a_refusal_leaves_the_holders_time<P: LocksPlace>(place: &P) {
    let began = Instant::now();
    assert_eq!(hold(place, ANN, 5 * SHORT).await, Held::Mine);
    // Each asks for so long that the lock would outlast the test's patience, were it given the time.
    let until = taken(place, BOB).await;
    assert!(until.duration_since(began) + Duration::from_millis(1) >= 5 * SHORT);

    assert_eq!(place.locks().hold(inbox(3), ANN, LONG).await.unwrap(), Held::Mine);
    let began = Instant::now();
    while began.elapsed() < 2 * SHORT {
        let asked = place.locks().hold(inbox(3), BOB, SHORT / 20).await;
        assert_eq!(asked.unwrap(), Held::Others);
        tokio::time::sleep(SHORT / 10).await;
    }
}

/// The holder has it for longer when it asks again, and for shorter when it asks for that.
pub async fn the_holder_renews<P: LocksPlace>(place: &P) {
    assert_eq!(hold(place, ANN, SHORT).await, Held::Mine);
    assert_eq!(hold(place, ANN, LONG).await, Held::Mine);
    let began = Instant::now();
    while began.elapsed() < 2 * SHORT {
        assert_eq!(hold(place, BOB, LONG).await, Held::Others);
        tokio::time::sleep(SHORT / 10).await;
    }
    assert_eq!(hold(place, ANN, SHORT).await, Held::Mine);
    taken(place, BOB).await;
}

/// Only the holder gives a lock back; that of nobody is given back without an error.
pub async fn only_the_holder_releases<P: LocksPlace>(place: &P) {
    release(place, ANN).await;
    assert_eq!(hold(place, ANN, LONG).await, Held::Mine);
    release(place, BOB).await;
    assert_eq!(hold(place, BOB, LONG).await, Held::Others);
    release(place, ANN).await;
    assert_eq!(hold(place, BOB, LONG).await, Held::Mine);
}

/// A lock ends by itself, not before its time.
pub async fn a_lock_ends_by_itself<P: LocksPlace>(place: &P) {
    let began = Instant::now();
    assert_eq!(hold(place, ANN, SHORT).await, Held::Mine);
    let until = taken(place, BOB).await;
    assert!(until.duration_since(began) + Duration::from_millis(1) >= SHORT);
    assert_eq!(hold(place, ANN, LONG).await, Held::Others);
}

/// A lock that vanished is its holder's again at the next asking, or another's who asks first.
pub async fn a_lock_that_vanished_is_taken_again<P: LocksPlace>(place: &P) {
    assert_eq!(hold(place, ANN, LONG).await, Held::Mine);
    place.wipe().await;
    assert_eq!(hold(place, ANN, LONG).await, Held::Mine);
    assert_eq!(hold(place, BOB, LONG).await, Held::Others);
    place.wipe().await;
    assert_eq!(hold(place, BOB, LONG).await, Held::Mine);
    release(place, ANN).await;
    assert_eq!(hold(place, ANN, LONG).await, Held::Others);
}
