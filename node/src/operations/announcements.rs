//! Events of what an administrator does.

use mailhorn_events::{AccountId, Event, EventId, Happening, MailboxId, QuotaLimits, QuotaRoot};
use mailhorn_ports::{Account, Announce, Change, StoreError};

use super::{INBOX, Operations};

/// The index by which the name of an account's last event is made from the account's own.
const GONE: usize = 1;

impl Operations {
    /// An account was made, and its INBOX with it.
    pub(super) async fn announce_inbox(&self, account: &Account) -> Result<(), StoreError> {
        let happening = Happening::MailboxAdded {
            name: INBOX.to_owned(),
        };
        self.announce(self.ids.event(), of_inbox(account, happening))
            .await
    }

    /// An account is gone, and its INBOX with it.
    pub(super) async fn announce_inbox_gone(&self, account: &Account) -> Result<(), StoreError> {
        let happening = Happening::MailboxDeleted {
            name: INBOX.to_owned(),
            // Each was expunged, and told of, before. This is also the only figure that is the same when a crash comes
            // between and it is all done again.
            messages: 0,
            octets: 0,
        };
        // Told again it has the same name, so that a listener knows it.
        let event = EventId(account.id.0).of_event(GONE);
        self.announce(event, of_inbox(account, happening)).await
    }

    /// The limits that hold for a user or a domain were changed.
    pub(super) async fn announce_limits(
        &self,
        user: String,
        account: AccountId,
        root: QuotaRoot,
        [before, after]: [QuotaLimits; 2],
    ) -> Result<(), StoreError> {
        let event = Event {
            user,
            account,
            mailbox: None,
            happening: Happening::QuotaLimitsUpdated { root, before, after },
        };
        if event.happening.is_noop() {
            return Ok(());
        }
        self.announce(self.ids.event(), event).await
    }

    async fn announce(&self, name: EventId, event: Event) -> Result<(), StoreError> {
        let announce = Announce {
            event: name,
            stamp: self.ids.stamp(),
            events: vec![event],
            threshold: None,
        };
        self.writer.write(Change::Announce(announce)).await
    }
}

fn of_inbox(account: &Account, happening: Happening) -> Event {
    Event {
        user: account.address.clone(),
        account: account.id,
        mailbox: Some(MailboxId::inbox(account.id)),
        happening,
    }
}
