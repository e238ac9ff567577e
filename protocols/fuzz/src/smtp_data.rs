//! The data phase, in pieces of any size, against the rules as one would say them: search for the end, split
//! into lines, strip a dot from each. Both must agree on where the message ends, how, and on every octet. And the same
//! content in chunks of any sizes comes to the same.

use mailhorn_smtp::{ChunkDecoder, ContentDecoder, DataDecoder, DataEnd, LoopWatch, Progress};

const END: &[u8] = b"\r\n.\r\n";

/// The first octet chooses the size of the pieces, the second the limit; the rest is the stream.
pub(crate) fn target(input: &[u8]) {
    let [chunk, limit, stream @ ..] = input else {
        return;
    };
    let content_octets_max = u64::from(*limit) * 4;
    let mut decoder = DataDecoder::new(content_octets_max);
    let mut loops = LoopWatch::default();
    let mut content = Vec::new();
    let mut before = 0;
    let mut ended = None;
    for part in stream.chunks(usize::from(*chunk).max(1)) {
        let known = content.len();
        let progress = decoder.push(part, &mut content);
        loops.push(&content[known..]);
        assert!(
            content.len() as u64 <= content_octets_max,
            "no more is kept than may be"
        );
        if let Progress::Ended { consumed, end } = progress {
            ended = Some((before + consumed, end));
            break;
        }
        before += part.len();
    }

    let mut whole = LoopWatch::default();
    whole.push(&content);
    assert_eq!(
        loops.is_looping(),
        whole.is_looping(),
        "hops are counted the same in any pieces"
    );

    let expected = model(stream, content_octets_max);
    assert_eq!(ended, expected.as_ref().map(|(at, end, _)| (*at, *end)));
    if let Some((_, DataEnd::Complete, expected_content)) = expected {
        assert_eq!(content, expected_content);
        assert!(content.is_empty() || content.ends_with(b"\r\n"));
        assert_eq!(
            in_chunks(&content, usize::from(*chunk).max(1), content_octets_max),
            content
        );
    }
}

/// The content that comes of chunks.
fn in_chunks(content: &[u8], chunk: usize, content_octets_max: u64) -> Vec<u8> {
    let mut decoder = ChunkDecoder::new(content_octets_max);
    let mut kept = Vec::new();
    let mut chunks = content.chunks(chunk).chain([&[][..]]).peekable();
    while let Some(octets) = chunks.next() {
        decoder.begin(octets.len() as u64, chunks.peek().is_none());
        let ended = Progress::Ended {
            consumed: octets.len(),
            end: DataEnd::Complete,
        };
        assert_eq!(decoder.push(&[octets, b"NOOP"].concat(), &mut kept), ended);
    }
    kept
}

/// Where the message ends in the stream, how, and its content.
fn model(stream: &[u8], content_octets_max: u64) -> Option<(usize, DataEnd, Vec<u8>)> {
    let framed = [b"\r\n", stream].concat();
    let at = framed.windows(END.len()).position(|window| window == END)?;
    // The CRLF in front of the final dot belongs to the content, unless it is the one put there above.
    let body = if at == 0 { &[][..] } else { &framed[2..at + 2] };
    let mut content = Vec::new();
    let mut bare = false;
    let mut rest = body;
    while let Some(line_octets) = rest.windows(2).position(|window| window == b"\r\n") {
        let line = &rest[..line_octets];
        bare |= line.contains(&b'\r') || line.contains(&b'\n');
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
        content.extend_from_slice(b"\r\n");
        rest = &rest[line_octets + 2..];
    }
    let end = if bare {
        DataEnd::BareLineEnd
    } else if content.len() as u64 > content_octets_max {
        DataEnd::TooLarge
    } else {
        DataEnd::Complete
    };
    Some((at + 3, end, content))
}
