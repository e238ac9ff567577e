//! The names of things: accounts, mailboxes, messages, events, logs, and the stamps that order them.

use std::fmt;

use uuid::{Builder, Uuid};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The sixteen octets, as they stand in keys.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// The name that these sixteen octets stand for.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

id!(
    /// An account. New at every `user add`, so an address that was removed and made again starts empty.
    AccountId
);
id!(
    /// A mailbox of an account. INBOX's is computed ([`MailboxId::inbox`]); others are made.
    MailboxId
);
id!(
    /// A message: a UUID version 7 (RFC 9562 §5.7) that is also its POP3 unique-id (RFC 1939 §7). Its octets
    /// sort by the time at which its transaction began.
    MessageId
);
id!(
    /// An event, and with it the change that it tells of: a change that is tried again has the same one.
    EventId
);
id!(
    /// One life of a node process. Made at every start, so that two processes never share a log.
    Generation
);

impl EventId {
    /// The name of event `index` of the record that has this one: the record's own for the first.
    #[must_use]
    pub fn of_event(self, index: usize) -> Self {
        if index == 0 {
            return self;
        }
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        Self(Uuid::new_v5(&self.0, &index.to_be_bytes()))
    }

    /// A name for what stands at a position and can't be read.
    #[must_use]
    pub fn of_position(position: Position) -> Self {
        Self(Uuid::new_v5(
            &position.generation.0,
            &position.number.to_be_bytes(),
        ))
    }
}

impl MailboxId {
    /// INBOX of `account`: a name-based UUID (RFC 9562 §5.5), so that any node knows it without asking.
    #[must_use]
    pub fn inbox(account: AccountId) -> Self {
        Self(Uuid::new_v5(&account.0, b"INBOX"))
    }
}

impl MessageId {
    /// The id of a message whose transaction has `stamp`; `random` tells ids of different processes apart.
    ///
    /// The stamp's milliseconds fill the 48-bit time field, its microseconds the twelve bits behind it (RFC 9562
    /// §6.2, method 3), so the stamp can be read back ([`MessageId::stamp`]) and ids sort as stamps do.
    #[must_use]
    pub fn new(stamp: Stamp, random: [u8; 8]) -> Self {
        let millis = stamp.0 / 1_000;
        let fraction = stamp.0.rem_euclid(1_000).saturating_mul(4_096) / 1_000;
        let [_, _, _, _, _, _, high, low] = fraction.to_be_bytes();
        let [a, b, c, d, e, f, g, h] = random;
        Self(Builder::from_unix_timestamp_millis(millis, &[high, low, a, b, c, d, e, f, g, h]).into_uuid())
    }

    /// The stamp that the id was made from.
    #[must_use]
    pub fn stamp(&self) -> Stamp {
        let [a, b, c, d, e, f, g, h, ..] = *self.0.as_bytes();
        let millis = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        let fraction = u64::from_be_bytes([0, 0, 0, 0, 0, 0, g & 0x0f, h]);
        let micros = fraction.saturating_mul(1_000).div_ceil(4_096);
        Stamp(millis.saturating_mul(1_000).saturating_add(micros))
    }
}

/// Microseconds since the Unix epoch by a hybrid clock: never below the node's wall clock when it was taken, and
/// above every stamp that the node had seen. Orders changes of one row between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The first stamp above this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Where a record stands: in the log of one process, counted from 1 without holes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Whose log.
    pub generation: Generation,
    /// Which record of it.
    pub number: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_message_id_gives_its_stamp_back(micros in 0u64..(1 << 47), random: [u8; 8]) {
            prop_assert_eq!(MessageId::new(Stamp(micros), random).stamp(), Stamp(micros));
        }

        #[test]
        fn message_ids_sort_as_their_stamps_do(a in 0u64..(1 << 47), b in 0u64..(1 << 47), r: [u8; 8], s: [u8; 8]) {
            prop_assume!(a != b);
            let (x, y) = (MessageId::new(Stamp(a), r), MessageId::new(Stamp(b), s));
            prop_assert_eq!(a < b, x < y);
            prop_assert_eq!(a < b, x.as_bytes() < y.as_bytes());
            prop_assert_eq!(a < b, x.to_string() < y.to_string());
        }
    }

    #[test]
    fn a_message_id_is_a_uuid_of_version_7() {
        let id = MessageId::new(Stamp(1_700_000_000_123_456), [0xff; 8]);
        assert_eq!(id.0.get_version_num(), 7);
        assert_eq!(id.0.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn inbox_has_the_same_id_wherever_it_is_computed() {
        let account = AccountId(Uuid::from_u128(7));
        assert_eq!(MailboxId::inbox(account), MailboxId::inbox(account));
        assert_ne!(
            MailboxId::inbox(account),
            MailboxId::inbox(AccountId(Uuid::from_u128(8)))
        );
    }
}
