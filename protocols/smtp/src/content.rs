//! What is common to the two ways in which content comes, `DATA` and `BDAT`: how it ends, and what is refused.

/// How content ended, or a chunk of it. A [`ContentDecoder`] says one of the first three; the driver may turn
/// [`Self::Complete`] into one of the others before it tells [`crate::Session::data_ended`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataEnd {
    /// All content is there and well-formed.
    Complete,
    /// A CR or LF stood alone (RFC 5321 §2.3.8): `550 5.6.0`.
    BareLineEnd,
    /// The content is larger than allowed (RFC 1870 §6.3): `552 5.3.4`.
    TooLarge,
    /// It has passed too many hosts (RFC 5321 §6.3), see [`crate::LoopWatch`]: `554 5.4.6`.
    TooManyHops,
    /// There was no room for the content: `452 4.3.1`.
    InsufficientStorage,
    /// The content could not be kept, for another reason: `451 4.3.0`.
    StoreFailed,
}

/// How far [`ContentDecoder::push`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// All octets were taken and the content (of `BDAT`: the chunk) goes on.
    More,
    /// It has ended.
    Ended {
        /// So many of the pushed octets belonged to it. What follows is the next command.
        consumed: usize,
        /// How it ended.
        end: DataEnd,
    },
}

/// Cuts content out of what the client sends.
pub trait ContentDecoder {
    /// Takes octets from the network and appends their content to `content`. After the end it takes none. To be
    /// called before the first octets are waited for, too: a chunk may have none.
    fn push(&mut self, octets: &[u8], content: &mut Vec<u8>) -> Progress;

    /// Whether the message will be refused whatever still comes. What was appended to `content` is void and
    /// no more will be; the driver goes on pushing until the end.
    fn is_refused(&self) -> bool;

    /// How many octets of content there are so far.
    fn content_octets(&self) -> u64;
}

/// The content so far: how many octets it has, and whether it is void.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    content_octets: u64,
    content_octets_max: u64,
    fault: Option<Fault>,
}

/// Why the content is void. A line end that stands alone outweighs the size, wherever it stands: smaller
/// mail of the same make would not be taken either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    TooLarge,
    BareLineEnd,
}

impl Tally {
    /// RFC 1870 §5: line ends count, stuffed dots and the final dot do not.
    pub(crate) fn new(content_octets_max: u64) -> Self {
        Self {
            content_octets: 0,
            content_octets_max,
            fault: None,
        }
    }

    /// Appends `octets` to `content`, unless it is void or would be too large.
    pub(crate) fn emit(&mut self, octets: &[u8], content: &mut Vec<u8>) {
        if self.fault.is_some() {
            return;
        }
        let more = u64::try_from(octets.len()).unwrap_or(u64::MAX);
        let content_octets = self.content_octets.saturating_add(more);
        if content_octets > self.content_octets_max {
            self.fault = Some(Fault::TooLarge);
            return;
        }
        self.content_octets = content_octets;
        content.extend_from_slice(octets);
    }

    pub(crate) fn refuse_bare_line_end(&mut self) {
        self.fault = Some(Fault::BareLineEnd);
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.fault.is_some()
    }

    pub(crate) fn content_octets(&self) -> u64 {
        self.content_octets
    }

    pub(crate) fn end(&self) -> DataEnd {
        match self.fault {
            None => DataEnd::Complete,
            Some(Fault::BareLineEnd) => DataEnd::BareLineEnd,
            Some(Fault::TooLarge) => DataEnd::TooLarge,
        }
    }
}
