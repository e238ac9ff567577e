//! The actors: sessions, mailboxes, the log, listeners on the network, and their supervisor.
