//! The framer, in pieces of any size and under limits that change, against splitting the whole stream at its line feeds.

use mailhorn_lines::{ENDLESS_TIMES_LIMIT, Frame, Framer};

/// The first two octets are the limits, taken in turns; the third is the size of the pieces; the rest is the stream.
pub(crate) fn target(input: &[u8]) {
    let [first, second, chunk, stream @ ..] = input else {
        return;
    };
    // A limit of nothing is none: not even an empty line has it.
    let limits = [usize::from(*first).max(1), usize::from(*second).max(1)];
    let expected = model(stream, limits);
    let mut framer = Framer::new(limits[0]);
    let mut frames = Vec::new();
    for part in stream.chunks(usize::from(*chunk).max(1)) {
        framer.push(part);
        loop {
            let limit = limits[frames.len() % 2];
            framer.set_limit(limit);
            let Some(frame) = framer.next_frame() else {
                assert!(framer.buffered().len() <= limit, "no more is held than a line");
                break;
            };
            frames.push(frame);
        }
    }
    assert_eq!(frames, expected);
    let ended = frames.last() == Some(&Frame::Endless);
    let whole = stream.is_empty() || stream.ends_with(b"\n");
    assert_eq!(framer.is_empty(), whole && !ended);
    data_phase(stream, usize::from(*chunk));
}

/// After the first line everything is there for the data phase, which leaves the rest.
fn data_phase(stream: &[u8], octets: usize) {
    let mut framer = Framer::new(usize::MAX);
    framer.push(stream);
    let Some(Frame::Line(line)) = framer.next_frame() else {
        return;
    };
    let line_end = stream
        .iter()
        .position(|octet| *octet == b'\n')
        .expect("a line has an end");
    assert_eq!(
        line,
        stream[..line_end]
            .strip_suffix(b"\r")
            .unwrap_or(&stream[..line_end])
    );
    let rest = &stream[line_end + 1..];
    assert_eq!(framer.buffered(), rest);
    framer.consume(octets);
    assert_eq!(framer.buffered(), rest.get(octets..).unwrap_or_default());
}

fn model(stream: &[u8], limits: [usize; 2]) -> Vec<Frame> {
    let mut frames = Vec::new();
    for line in stream.split_inclusive(|octet| *octet == b'\n') {
        let limit = limits[frames.len() % 2];
        if line.len() > limit * ENDLESS_TIMES_LIMIT {
            frames.push(Frame::Endless);
            break;
        }
        let Some(whole) = line.strip_suffix(b"\n") else {
            break;
        };
        frames.push(if line.len() > limit {
            Frame::TooLong
        } else {
            Frame::Line(whole.strip_suffix(b"\r").unwrap_or(whole).to_vec())
        });
    }
    frames
}
