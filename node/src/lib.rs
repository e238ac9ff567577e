//! A mail node: SMTP and LMTP in, POP3 out.
