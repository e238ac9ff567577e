//! What happens in a mailbox, and how it is written down.
