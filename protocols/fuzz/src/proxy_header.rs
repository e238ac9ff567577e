//! PROXY headers of any octets, in one piece and in two: the same comes out, nothing behind the header is taken, and a
//! header ends within its limit.

use mailhorn_proxy::{Malformed, Parser, Progress, V2_OCTETS_MAX};

/// The first octet says where the rest is cut.
pub(crate) fn target(input: &[u8]) {
    let Some((cut, octets)) = input.split_first() else {
        return;
    };
    let whole = Parser::new().push(octets);
    let (first, second) = octets.split_at(usize::from(*cut).min(octets.len()));
    assert_eq!(whole, in_two(first, second));
    match whole {
        Ok(Progress::Done { consumed, .. }) => assert!(consumed <= octets.len().min(V2_OCTETS_MAX)),
        Ok(Progress::More) => assert!(octets.len() < V2_OCTETS_MAX),
        Err(_) => {}
    }
}

fn in_two(first: &[u8], second: &[u8]) -> Result<Progress, Malformed> {
    let mut parser = Parser::new();
    match parser.push(first)? {
        Progress::More => {}
        done @ Progress::Done { .. } => return Ok(done),
    }
    Ok(match parser.push(second)? {
        Progress::Done { consumed, header } => Progress::Done {
            consumed: first.len() + consumed,
            header,
        },
        Progress::More => Progress::More,
    })
}
