//! The mail transaction: `MAIL`, `RCPT`, and content by `DATA` or `BDAT` (RFC 5321 §3.3, RFC 3030 §2).

use std::mem;

use super::authentication::AboutSender;
use super::{Client, Content, Protocol, Security, Session, State, say};
use crate::address::Address;
use crate::content::DataEnd;
use crate::limits::REFUSED_CHUNK_SIZES_MAX;
use crate::parameters::MailParameters;
use crate::path::{ForwardPath, ReversePath};
use crate::reply::{self, Replies, Reply};
use crate::transmission::Transmission;
use crate::turn::{Ask, DeliveryVerdict, Envelope, Step};

/// Boxed, for most sessions are idle most of the time.
#[derive(Debug)]
pub(super) struct Transaction {
    reverse_path: ReversePath,
    pub(super) parameters: MailParameters,
    pub(super) recipients: Vec<Address>,
}

impl Session {
    /// The content came to its end, or the chunk that comes in; or its beginning was refused and all of it was read
    /// past.
    pub fn data_ended(&mut self, end: DataEnd) -> Step {
        let State::Content(content) = self.state else {
            return self.out_of_turn();
        };
        if content.not_last.is_none() || end != DataEnd::Complete {
            self.messages = self.messages.saturating_add(1);
        }
        // Whatever became of the message, the transaction is over and MAIL may come (RFC 5321 §4.1.1.4).
        self.state = State::Idle;
        let refusal = match (end, content.not_last) {
            (DataEnd::Complete, None) => {
                self.state = State::AskedToDeliver {
                    recipients: content.recipients,
                };
                return Step::Ask(Ask::Deliver);
            }
            (DataEnd::Complete, Some(octets)) => {
                self.state = State::BetweenChunks(content);
                return say(reply::octets_received(octets));
            }
            (DataEnd::BareLineEnd, _) => reply::BARE_LINE_END,
            (DataEnd::TooLarge, _) => reply::TOO_LARGE,
            (DataEnd::TooManyHops, _) => reply::TOO_MANY_HOPS,
            (DataEnd::InsufficientStorage, _) => reply::NO_STORAGE,
            (DataEnd::StoreFailed, _) => reply::UNAVAILABLE,
        };
        Step::Reply(self.refusals(refusal, content.recipients, content.not_last.is_none()))
    }

    /// RFC 2033 §4.2: in LMTP one reply for each recipient even if the content as such is refused; but only at its end.
    fn refusals(&self, refusal: Reply, recipients: usize, at_the_end: bool) -> Replies {
        let others = match self.options.protocol {
            Protocol::Lmtp if at_the_end => vec![refusal.clone(); recipients.saturating_sub(1)],
            Protocol::Smtp | Protocol::Lmtp => Vec::new(),
        };
        Replies::with_others(refusal, others)
    }

    pub(super) fn mail(&mut self, reverse_path: ReversePath, parameters: MailParameters) -> Step {
        if self.client.is_none() {
            return self.bad_command(reply::HELLO_FIRST);
        }
        if self.is_in_transaction() {
            return self.bad_command(reply::MAIL_ALREADY);
        }
        if self
            .options
            .messages_max
            .is_some_and(|max| self.messages >= max.get())
        {
            return self.close(reply::too_many_messages(&self.options.hostname));
        }
        // RFC 1870 §6.1: refused before it is sent.
        if parameters
            .declared_octets
            .is_some_and(|octets| octets > self.options.size_octets_max)
        {
            return say(reply::TOO_LARGE);
        }
        if parameters.auth && !self.has_auth() {
            return self.bad_command(reply::UNKNOWN_PARAMETER);
        }
        let about_sender = self.about_sender(&reverse_path);
        let transaction = Box::new(Transaction {
            reverse_path,
            parameters,
            recipients: Vec::new(),
        });
        match about_sender {
            AboutSender::Nothing => self.begin_transaction(transaction),
            AboutSender::Standing(address) => {
                self.state = State::AskedForSender(transaction);
                Step::Ask(Ask::Sender { address })
            }
            AboutSender::IsNotOwn => say(reply::NOT_YOUR_ADDRESS),
        }
    }

    pub(super) fn begin_transaction(&mut self, transaction: Box<Transaction>) -> Step {
        self.state = State::Transaction(transaction);
        say(reply::SENDER_OK)
    }

    pub(super) fn rcpt(&mut self, forward_path: ForwardPath) -> Step {
        let transaction = match &self.state {
            State::Transaction(transaction) => transaction,
            State::BetweenChunks(_) => return self.bad_command(reply::CONTENT_BEGUN),
            _ => return self.bad_command(reply::MAIL_FIRST),
        };
        // RFC 5321 §4.5.3.1.10: the client sends the rest in another transaction.
        if transaction.recipients.len() >= self.options.recipients_max {
            return say(reply::TOO_MANY_RECIPIENTS);
        }
        let declared_octets = transaction.parameters.declared_octets;
        let address = match forward_path {
            ForwardPath::Mailbox(address) => address,
            ForwardPath::Postmaster => self.options.postmaster.clone(),
            ForwardPath::AtAddressLiteral => return say(reply::NOT_LOCAL),
        };
        if let State::Transaction(transaction) = mem::take(&mut self.state) {
            self.state = State::AskedForRecipient(transaction, address.clone());
        }
        Step::Ask(Ask::Recipient {
            address,
            declared_octets,
        })
    }

    pub(super) fn data(&mut self) -> Step {
        match (mem::take(&mut self.state), &self.client) {
            (State::Transaction(transaction), Some(client)) if !transaction.recipients.is_empty() => {
                let (content, envelope) = self.begin_content(*transaction, client);
                self.state = State::Content(content);
                Step::Data {
                    reply: reply::start_mail_input().into(),
                    envelope,
                }
            }
            // A pipelining client sends DATA before it knows that nobody was accepted (RFC 2920 §3.1): that
            // is no mistake, and it does not count as one.
            (State::Transaction(transaction), _) => {
                self.state = State::Transaction(transaction);
                say(self.no_recipients())
            }
            (State::BetweenChunks(content), _) => {
                self.state = State::BetweenChunks(content);
                self.bad_command(reply::CONTENT_BEGUN)
            }
            _ => self.bad_command(reply::MAIL_FIRST),
        }
    }

    /// What the session keeps of a transaction whose content begins, and what the driver gets of it.
    fn begin_content(&self, transaction: Transaction, client: &Client) -> (Content, Envelope) {
        let content = Content {
            recipients: transaction.recipients.len(),
            chunks_octets: 0,
            not_last: None,
        };
        let envelope = Envelope {
            reverse_path: transaction.reverse_path,
            recipients: transaction.recipients,
            body: transaction.parameters.body,
            declared_octets: transaction.parameters.declared_octets,
            client: client.name.clone(),
            transmission: Transmission {
                hello: client.hello,
                tls: self.peer.security == Security::Tls,
                authenticated: self.authenticated,
                smtputf8: transaction.parameters.smtputf8,
            },
        };
        (content, envelope)
    }

    fn no_recipients(&self) -> Reply {
        match self.options.protocol {
            Protocol::Smtp => reply::NO_VALID_RECIPIENTS,
            Protocol::Lmtp => reply::RECIPIENT_FIRST,
        }
    }

    /// RFC 3030 §2. A chunk that is refused ends the transaction: chunks that were pipelined behind it must not be
    /// taken for the beginning of a message. They are answered with `503`, which does not count as a mistake.
    pub(super) fn bdat(&mut self, octets: u64, last: bool) -> Step {
        let (before, envelope) = match (mem::take(&mut self.state), &self.client) {
            (State::Transaction(transaction), Some(client)) if !transaction.recipients.is_empty() => {
                let (content, envelope) = self.begin_content(*transaction, client);
                (content, Some(envelope))
            }
            (State::BetweenChunks(content), _) => (content, None),
            (State::Transaction(_), _) => return self.skip_chunk(octets, self.no_recipients().into()),
            _ => return self.skip_chunk(octets, reply::MAIL_FIRST.into()),
        };
        let content = Content {
            chunks_octets: before.chunks_octets.saturating_add(octets),
            not_last: (!last).then_some(octets),
            ..before
        };
        if content.chunks_octets > self.options.size_octets_max {
            let refusals = self.refusals(reply::TOO_LARGE, content.recipients, last);
            return self.skip_chunk(octets, refusals);
        }
        self.state = State::Content(content);
        Step::Chunk {
            envelope,
            octets,
            last,
        }
    }

    /// Refuses a chunk. One that is far too large is not waited for: its sender learns why, and is gone.
    pub(super) fn skip_chunk(&mut self, octets: u64, reply: Replies) -> Step {
        let octets_max = self
            .options
            .size_octets_max
            .saturating_mul(REFUSED_CHUNK_SIZES_MAX);
        if octets > octets_max {
            self.state = State::Closed;
            return Step::ReplyThenClose(reply);
        }
        self.state = State::Idle;
        Step::SkipChunk { octets, reply }
    }

    pub(super) fn delivered(&self, verdicts: Vec<DeliveryVerdict>) -> Replies {
        match self.options.protocol {
            Protocol::Smtp => one_for_all(&verdicts).reply().into(),
            Protocol::Lmtp => {
                let mut replies = verdicts.into_iter().map(DeliveryVerdict::reply);
                let first = replies.next().unwrap_or(reply::UNAVAILABLE);
                Replies::with_others(first, replies.collect())
            }
        }
    }
}

/// SMTP has one reply for all recipients. If all fared the same, it says how. Otherwise it is `451`, and the
/// client sends to all of them again: those who have the message get it twice, which is bad, but a `250` or a
/// `5xx` would lose it for the others, which is worse.
fn one_for_all(verdicts: &[DeliveryVerdict]) -> DeliveryVerdict {
    match verdicts {
        [first, others @ ..] if others.iter().all(|other| other == first) => *first,
        _ => DeliveryVerdict::Unavailable,
    }
}
