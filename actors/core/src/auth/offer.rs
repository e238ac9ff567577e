//! Whether SCRAM is offered: a session asks at every CAPA, the directory is asked every few seconds.

use std::time::Duration;

use mailhorn_ports::Directory;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::options::ScramOffer;

/// How old an answer of the directory may be. Another node's new account is noticed after it.
const ANSWER_AGE_MAX: Duration = Duration::from_secs(10);

/// The last answer.
#[derive(Debug)]
pub(super) struct Offer {
    offer: ScramOffer,
    last: Mutex<Last>,
}

#[derive(Debug, Default)]
struct Last {
    answer: Option<(Instant, bool)>,
    /// How often the answer was forgotten, so that a question from before does not bring it back.
    forgotten: u64,
}

impl Offer {
    pub(super) fn new(offer: ScramOffer) -> Self {
        Self {
            offer,
            last: Mutex::default(),
        }
    }

    pub(super) fn forget(&self) {
        let mut last = self.last.lock();
        last.answer = None;
        last.forgotten += 1;
    }

    pub(super) async fn current(&self, directory: &dyn Directory) -> bool {
        match self.offer {
            ScramOffer::On => return true,
            ScramOffer::Off => return false,
            ScramOffer::Auto => {}
        }
        let asked_at = Instant::now();
        let forgotten = {
            let mut last = self.last.lock();
            match &mut last.answer {
                Some((at, is_offered)) if asked_at.duration_since(*at) < ANSWER_AGE_MAX => {
                    return *is_offered;
                }
                // One session asks; the others take the old answer until it has the new one.
                Some((at, _)) => *at = asked_at,
                None => {}
            }
            last.forgotten
        };
        // Without an answer nobody can log in anyway, so it does not matter what is offered.
        let is_offered = matches!(directory.accounts_without_scram().await, Ok(0));
        let mut last = self.last.lock();
        if last.forgotten == forgotten {
            last.answer = Some((asked_at, is_offered));
        }
        is_offered
    }
}
