//! SMTP and LMTP as values without I/O: commands, replies, the data phase, the session.
