//! Headers as proxies send them, cut at every place; and what is none.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mailhorn_proxy::{Header, Malformed, Parser, Progress, V1_OCTETS_MAX, V2_OCTETS_MAX};
use proptest::prelude::*;

fn proxied(source: &str, destination: &str) -> Header {
    Header::Proxied {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A header of version 2.
fn block(version_command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let signature: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    [signature, &[version_command, family], &length, content].concat()
}

/// 192.0.2.7, port 4660, to 198.51.100.1, port 110.
const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x34, 0, 110];

/// 2001:db8::7, port 4660, to 2001:db8::1, port 110.
fn v6() -> Vec<u8> {
    let address = |last| [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [&address(7)[..], &address(1)[..], &[0x12, 0x34, 0, 110]].concat()
}

/// Every header here with what it says.
fn good() -> Vec<(Vec<u8>, Header)> {
    let mut good: Vec<(Vec<u8>, Header)> = version_1()
        .into_iter()
        .map(|(line, header)| (line.as_bytes().to_vec(), header))
        .collect();
    good.extend(version_2());
    good
}

fn version_1() -> Vec<(&'static str, Header)> {
    let longest = "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe 65535 65535\r\n";
    vec![
        (
            "PROXY TCP4 192.0.2.7 198.51.100.1 4660 110\r\n",
            proxied("192.0.2.7:4660", "198.51.100.1:110"),
        ),
        (
            "PROXY TCP6 2001:db8::7 2001:DB8::1 4660 110\r\n",
            proxied("[2001:db8::7]:4660", "[2001:db8::1]:110"),
        ),
        (
            "PROXY TCP4 255.255.255.255 0.0.0.0 0 65535\r\n",
            proxied("255.255.255.255:0", "0.0.0.0:65535"),
        ),
        (
            longest,
            proxied(
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
                "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535",
            ),
        ),
        ("PROXY UNKNOWN\r\n", Header::Local),
        ("PROXY UNKNOWN 192.0.2.7 whatever 1 2 3\r\n", Header::Local),
    ]
}

fn version_2() -> Vec<(Vec<u8>, Header)> {
    let of_v4 = proxied("192.0.2.7:4660", "198.51.100.1:110");
    let of_v6 = proxied("[2001:db8::7]:4660", "[2001:db8::1]:110");
    let additions = [&V4[..], &[0x04, 0, 2, 0, 0], &[0xEA, 0, 1, 7]].concat();
    let after_v6 = [v6(), vec![0x04; 100]].concat();
    vec![
        (block(0x21, 0x11, &V4), of_v4),
        (block(0x21, 0x11, &additions), of_v4),
        (block(0x21, 0x21, &v6()), of_v6),
        (block(0x21, 0x21, &after_v6), of_v6),
        (block(0x20, 0x00, &[]), Header::Local),
        // Of LOCAL nothing else is looked at.
        (block(0x20, 0x11, &V4), Header::Local),
        (block(0x20, 0x99, &[1, 2, 3]), Header::Local),
        (block(0x21, 0x00, &[9; 20]), Header::Local),
        (block(0x21, 0x12, &V4), Header::Local),
        (block(0x21, 0x31, &[0x2F; 216]), Header::Local),
    ]
}

fn read(octets: &[u8]) -> Result<Progress, Malformed> {
    Parser::new().push(octets)
}

fn done(octets: &[u8], header: Header) -> Result<Progress, Malformed> {
    let consumed = octets.len();
    Ok(Progress::Done { consumed, header })
}

#[test]
fn headers_of_version_1_are_read() {
    for (line, header) in version_1() {
        assert_eq!(read(line.as_bytes()), done(line.as_bytes(), header), "{line:?}");
    }
}

#[test]
fn headers_of_version_2_are_read() {
    for (octets, header) in version_2() {
        assert_eq!(read(&octets), done(&octets, header), "{octets:x?}");
    }
}

#[test]
fn lines_that_make_no_sense_are_refused() {
    for line in [
        "PROXY\r\n",
        "PROXY \r\n",
        "PROXY TCP4\r\n",
        "PROXY TCP5 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY tcp4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
        "PROXY TCP4 192.0.2.7\t198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP6 2001:db8::7%1 2001:db8::1 1 2\r\n",
        "PROXY UNKNOWN\n",
        "PROXY UNKNOWN\rX",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1 2\nEHLO x\r\n",
    ] {
        let told = read(line.as_bytes()).unwrap_err();
        assert!(
            matches!(told, Malformed::Content | Malformed::NoHeader),
            "{line:?}: {told}"
        );
    }
}

#[test]
fn blocks_that_make_no_sense_are_refused() {
    for (octets, why) in [
        (block(0x11, 0x11, &V4), "version 1"),
        (block(0x31, 0x11, &V4), "version 3"),
        (block(0x22, 0x11, &V4), "an unknown command"),
        (block(0x21, 0x41, &V4), "an unknown family"),
        (block(0x21, 0x13, &V4), "an unknown protocol"),
        (block(0x21, 0x11, &V4[..11]), "addresses that are cut off"),
        (block(0x21, 0x21, &v6()[..35]), "addresses that are cut off"),
        (block(0x21, 0x11, &[]), "no addresses"),
    ] {
        assert_eq!(read(&octets), Err(Malformed::Content), "{why}");
    }
}

#[test]
fn a_line_of_107_octets_is_taken_and_a_longer_one_is_refused_before_it_ends() {
    let of = |octets: usize| {
        let filled = "x".repeat(octets - "PROXY UNKNOWN \r\n".len());
        format!("PROXY UNKNOWN {filled}\r\n").into_bytes()
    };
    let longest = of(V1_OCTETS_MAX);
    assert_eq!(read(&longest), done(&longest, Header::Local));
    let longer = of(V1_OCTETS_MAX + 1);
    assert_eq!(read(&longer[..V1_OCTETS_MAX]), Err(Malformed::TooLong));
}

#[test]
fn additions_are_skipped_up_to_the_limit() {
    let of = |octets: usize| block(0x21, 0x11, &[&V4[..], &vec![4; octets - 16 - V4.len()]].concat());
    let longest = of(V2_OCTETS_MAX);
    assert_eq!(
        read(&longest),
        done(&longest, proxied("192.0.2.7:4660", "198.51.100.1:110"))
    );
    let longer = of(V2_OCTETS_MAX + 1);
    assert_eq!(
        read(&longer[..16]),
        Err(Malformed::TooLong),
        "known from its length"
    );
}

#[test]
fn what_is_no_header_is_known_at_the_first_octet_that_shows_it() {
    for (octets, known_after) in [
        (&b"EHLO client.example"[..], 1),
        (b"\x16\x03\x01", 1),
        (b"PASS secret", 2),
        (b"PROXY\r\n", 6),
        (b"\r\n\r\n\0\r\nQUIX", 11),
    ] {
        let mut parser = Parser::new();
        for octet in &octets[..known_after - 1] {
            assert_eq!(parser.push(&[*octet]), Ok(Progress::More), "{octets:?}");
        }
        assert_eq!(
            parser.push(&octets[known_after - 1..]),
            Err(Malformed::NoHeader),
            "{octets:?}"
        );
    }
}

proptest! {
    #[test]
    fn a_header_cut_anywhere_is_the_same_header_and_nothing_behind_it_is_taken(
        index in any::<prop::sample::Index>(),
        behind in prop::collection::vec(any::<u8>(), 0..40),
        cuts in prop::collection::vec(1_usize..60, 1..20),
    ) {
        let good = good();
        let (octets, header) = index.get(&good);
        let stream = [&octets[..], &behind].concat();
        let mut parser = Parser::new();
        let (mut rest, mut taken, mut cuts) = (&stream[..], 0, cuts.iter().cycle());
        loop {
            let (piece, after) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            match parser.push(piece).unwrap() {
                Progress::More => taken += piece.len(),
                Progress::Done { consumed, header: read } => {
                    prop_assert_eq!(read, *header);
                    prop_assert_eq!(taken + consumed, octets.len());
                    break;
                }
            }
            rest = after;
        }
    }

    #[test]
    fn a_header_that_is_cut_off_is_never_done(index in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let good = good();
        let (octets, _) = index.get(&good);
        prop_assert_eq!(read(&octets[..cut.index(octets.len())]), Ok(Progress::More));
    }

    #[test]
    fn no_octets_are_too_strange(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        for beginning in [&b""[..], b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n"] {
            let stream = [beginning, &octets].concat();
            if let Ok(Progress::Done { consumed, .. }) = read(&stream) {
                prop_assert!(consumed <= stream.len());
            }
        }
    }
}

fn text(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

#[test]
fn the_table_names_tests_that_exist_and_every_paragraph_that_the_code_cites() {
    let table = text("PROXY.md");
    let tests = text("tests/headers.rs");
    let rows = table.lines().filter(|line| line.starts_with("| PROXY"));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let named: Vec<&str> = cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .collect();
    assert!(named.len() > 6, "the table is read");
    for test in named {
        assert!(
            tests.contains(&format!("fn {test}(")),
            "PROXY.md names {test}, which is no test"
        );
    }
    let paragraphs = |text: &str| -> BTreeSet<String> {
        let ends = |c: char| !c.is_ascii_digit() && c != '.';
        let found = text
            .split("PROXY §")
            .skip(1)
            .filter_map(|rest| rest.split(ends).next());
        found
            .map(|paragraph| paragraph.trim_end_matches('.').to_owned())
            .collect()
    };
    let sources = ["src/lib.rs", "src/v1.rs", "src/v2.rs"].map(text).concat();
    let missing: Vec<String> = paragraphs(&sources)
        .difference(&paragraphs(&table))
        .cloned()
        .collect();
    assert!(missing.is_empty(), "cited but not in PROXY.md: {missing:?}");
}
