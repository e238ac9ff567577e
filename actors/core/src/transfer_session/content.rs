//! A message's content, from the connection into the store: by `DATA`, or in chunks by `BDAT`.

use std::io;

use mailhorn_smtp::{
    ChunkDecoder, ContentDecoder, DataDecoder, DataEnd, DeliveryVerdict, Envelope, Progress, Protocol, Step,
};

use tokio::time::Instant;

use super::Conversation;
use crate::delivery::{Incoming, Resolved};

/// The message that is coming in.
#[derive(Debug)]
pub(super) struct Receiving {
    incoming: Incoming,
    /// Lives on from chunk to chunk: a line end may be cut by the end of one.
    chunks: ChunkDecoder,
}

/// How content ended.
enum Taken {
    Whole(DataEnd),
    /// Before its end, with the session.
    BrokenOff(Step),
}

impl Conversation {
    /// Takes in what follows `354`.
    pub(super) async fn data(&mut self, envelope: Envelope) -> io::Result<Step> {
        self.receive(envelope);
        let mut decoder = DataDecoder::new(self.deps.options.session.size_octets_max);
        let taken = self.take(&mut decoder).await?;
        Ok(self.taken(taken))
    }

    /// Takes in what follows `BDAT`. The first chunk of a message comes with its envelope.
    pub(super) async fn chunk(
        &mut self,
        envelope: Option<Envelope>,
        octets: u64,
        last: bool,
    ) -> io::Result<Step> {
        if let Some(envelope) = envelope {
            self.receive(envelope);
        }
        let Some(receiving) = &self.receiving else {
            return Err(without_message());
        };
        let mut decoder = receiving.chunks.clone();
        decoder.begin(octets, last);
        let taken = self.take(&mut decoder).await?;
        if let Some(receiving) = &mut self.receiving {
            receiving.chunks = decoder;
        }
        Ok(self.taken(taken))
    }

    /// Reads past the octets of a chunk that was refused. A step instead, when the session has to end before.
    pub(super) async fn skip_chunk(&mut self, octets: u64) -> io::Result<Option<Step>> {
        self.time_transaction();
        let mut left = octets;
        loop {
            let buffered = self.framer.buffered().len();
            let skipped = usize::try_from(left).map_or(buffered, |left| left.min(buffered));
            self.framer.consume(skipped);
            left = left.saturating_sub(u64::try_from(skipped).unwrap_or(u64::MAX));
            if left == 0 {
                return Ok(None);
            }
            if let Some(end) = self.fill_content().await? {
                return Ok(Some(end));
            }
        }
    }

    fn receive(&mut self, envelope: Envelope) {
        let peer = self.connection.peer();
        let accepted = std::mem::take(&mut self.accepted);
        self.receiving = Some(Box::new(Receiving {
            incoming: Incoming::new(&self.deps, envelope, accepted, peer),
            chunks: ChunkDecoder::new(self.deps.options.session.size_octets_max),
        }));
    }

    fn taken(&mut self, taken: Taken) -> Step {
        match taken {
            Taken::Whole(end) => self.session.data_ended(end),
            Taken::BrokenOff(step) => step,
        }
    }

    /// Takes octets in until the content, or its chunk, ends.
    async fn take(&mut self, decoder: &mut impl ContentDecoder) -> io::Result<Taken> {
        let octets_before = decoder.content_octets();
        let mut content = Vec::new();
        loop {
            let buffered = self.framer.buffered().len();
            let progress = decoder.push(self.framer.buffered(), &mut content);
            let Some(receiving) = &mut self.receiving else {
                return Err(without_message());
            };
            if decoder.is_refused() {
                receiving.incoming.refuse();
            }
            receiving.incoming.push(&self.deps, &mut content).await;
            match progress {
                Progress::More => {
                    self.framer.consume(buffered);
                    if let Some(end) = self.fill_content().await? {
                        return Ok(Taken::BrokenOff(end));
                    }
                }
                Progress::Ended { consumed, end } => {
                    self.framer.consume(consumed);
                    let octets = decoder.content_octets().saturating_sub(octets_before);
                    self.deps.metrics.octets_in.inc_by(octets);
                    return Ok(Taken::Whole(match end {
                        DataEnd::Complete => self.incoming_end()?,
                        end => end,
                    }));
                }
            }
        }
    }

    fn incoming_end(&self) -> io::Result<DataEnd> {
        let receiving = self.receiving.as_ref().ok_or_else(without_message)?;
        Ok(receiving.incoming.end())
    }

    /// Waits for octets of content. A step instead, when the session has to end.
    async fn fill_content(&mut self) -> io::Result<Option<Step>> {
        // A client that always has something to read leaves no moment to a timer.
        let deadline = self.deadline(Instant::now());
        if deadline <= Instant::now() {
            return Ok(Some(self.out_of_time()));
        }
        let framer = &mut self.framer;
        let read = self.connection.read(|octets| framer.push(octets));
        tokio::select! {
            biased;
            read = read => match read? {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(None),
            },
            () = self.drain.deadline() => Ok(Some(self.session.shutting_down())),
            () = tokio::time::sleep_until(deadline) => Ok(Some(self.out_of_time())),
        }
    }

    /// The time of a transaction begins, unless it has.
    pub(super) fn time_transaction(&mut self) {
        let timeout = self.deps.options.transaction_timeout;
        self.transaction_ends
            .get_or_insert_with(|| Instant::now() + timeout);
    }

    /// When the session ends if what has been waited for since then doesn't come.
    pub(super) fn deadline(&self, since: Instant) -> Instant {
        let idle = since + self.deps.options.idle_timeout;
        self.transaction_ends.map_or(idle, |ends| ends.min(idle))
    }

    /// The deadline has come.
    pub(super) fn out_of_time(&mut self) -> Step {
        if self.transaction_ends.is_some_and(|ends| ends <= Instant::now()) {
            self.deps.metrics.limit("smtp.transaction_timeout");
            return self.session.transaction_timed_out();
        }
        self.deps.metrics.limit(match self.deps.options.session.protocol {
            Protocol::Smtp => "smtp.idle_timeout",
            Protocol::Lmtp => "lmtp.idle_timeout",
        });
        self.session.timed_out()
    }

    pub(super) async fn deliver(&mut self) -> Vec<DeliveryVerdict> {
        let Some(receiving) = self.receiving.take() else {
            return Vec::new();
        };
        let Resolved {
            verdicts,
            notes,
            message,
        } = receiving.incoming.deliver(&self.deps).await;
        let delivered = verdicts
            .iter()
            .filter(|verdict| **verdict == DeliveryVerdict::Delivered)
            .count();
        tracing::info!(
            session = self.alive.number(),
            protocol = self.deps.protocol(),
            peer = %self.connection.peer(),
            id = %message,
            recipients = verdicts.len(),
            delivered,
            "mail"
        );
        // On SMTP one reply speaks for all: where it is `451`, the notes of those who have it must go on counting.
        if self.deps.is_lmtp() || delivered == verdicts.len() {
            self.unread.add(notes);
        } else {
            self.deps.log.keep(notes);
        }
        verdicts
    }
}

fn without_message() -> io::Error {
    io::Error::other("content came in without a message")
}
