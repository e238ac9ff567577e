//! What is said to clients, and how it is counted.

use mailhorn_lines::Frame;
use mailhorn_smtp::{Limit, Options, Replies, Reply};

use super::Conversation;

/// The verbs that are counted: a known set, so that a client can't make up new ones.
const VERBS: [&str; 15] = [
    "HELO", "EHLO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "AUTH", "RSET", "NOOP", "QUIT", "VRFY", "EXPN",
    "HELP", "STARTTLS",
];

impl Conversation {
    /// The command's verb for the metric; a SASL response counts as AUTH.
    pub(super) fn verb(&self, frame: &Frame) -> &'static str {
        let Frame::Line(line) = frame else { return "other" };
        if self.session.awaits_response() {
            return "AUTH";
        }
        let word = line.split(|octet| *octet == b' ').next().unwrap_or_default();
        let mut verbs = VERBS.into_iter();
        verbs
            .find(|verb| verb.as_bytes().eq_ignore_ascii_case(word))
            .unwrap_or("other")
    }

    pub(super) fn reply(&mut self, replies: &Replies, verb: &'static str) {
        for reply in replies.iter() {
            let result = match reply.code() {
                ..400 => "ok",
                400..500 => "temporary",
                500.. => "refused",
            };
            tracing::trace!(
                session = self.alive.number(),
                protocol = self.deps.protocol(),
                verb,
                reply = reply.code(),
                "command"
            );
            self.deps.metrics.command(self.deps.protocol(), verb, result);
        }
        if let Some(limit) = replies.iter().find_map(Reply::limit) {
            self.deps.metrics.limit(setting(limit));
            if matches!(limit, Limit::BadCommands | Limit::EndlessLine) && !self.log_in.is_done() {
                self.deps.bans.abused(self.connection.peer());
            }
        }
        replies.encode(&mut self.out);
    }
}

/// What is told to a connection that may not come in.
#[must_use]
pub fn refusal(options: &Options) -> Vec<u8> {
    let mut octets = Vec::new();
    mailhorn_smtp::too_many_connections(&options.hostname).encode(&mut octets);
    octets
}

/// What is told to a connection whose address is banned.
#[must_use]
pub fn ban_notice(options: &Options) -> Vec<u8> {
    let mut octets = Vec::new();
    mailhorn_smtp::banned(&options.hostname).encode(&mut octets);
    octets
}

/// What a limit that was reached is counted as: its setting, if it has one; of SMTP, and LMTP has it too.
fn setting(limit: Limit) -> &'static str {
    match limit {
        Limit::MessageSize => "smtp.max_message_size",
        Limit::Recipients => "smtp.max_recipients",
        Limit::BadCommands => "smtp.max_bad_commands",
        Limit::LogInFailures => "smtp.max_log_in_failures",
        Limit::Messages => "smtp.max_messages",
        Limit::EndlessLine => "smtp.endless_line",
    }
}
