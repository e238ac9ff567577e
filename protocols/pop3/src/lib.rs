//! POP3 as a value without I/O: commands, replies, the session.
