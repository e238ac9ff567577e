use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::samples::{self, any_record, one_of_each};
use super::*;
use crate::ids::{Generation, Position, Stamp};
use crate::model::{Arrival, Happened, Happening};

/// Octets that a golden file holds. With `MAILHORN_WRITE_GOLDEN=1` a file that isn't there yet is written; one that
/// is there is never written again: it is what was shipped.
pub(crate) fn golden(name: &str, now: &[u8]) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("src/golden")
        .join(name);
    if std::env::var_os("MAILHORN_WRITE_GOLDEN").is_some() && !path.exists() {
        fs::write(&path, now).unwrap();
    }
    fs::read(&path).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The name of a kind's golden file: `MailboxAdded` is `v2_mailbox_added`.
fn golden_name(record: &Record, format: Format) -> String {
    let mut name = "v2".to_owned();
    for letter in record.events[0].happening.name().chars() {
        if letter.is_uppercase() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    format!("{name}.{format}")
}

fn envelope(format: Format, payload: &[u8]) -> Vec<u8> {
    [&[VERSION, format.octet()], payload].concat()
}

fn json_envelope(payload: &Value) -> Vec<u8> {
    envelope(Format::Json, payload.to_string().as_bytes())
}

/// What `record` says in JSON, to be changed as a later release might.
fn payload(record: &Record) -> Value {
    serde_json::from_slice(&encode(record, Format::Json)[2..]).unwrap()
}

#[test]
fn every_kind_in_every_format_is_what_its_golden_file_holds() {
    let records = one_of_each();
    let kinds: Vec<&str> = records
        .iter()
        .map(|record| record.events[0].happening.name())
        .collect();
    assert_eq!(kinds, Happening::NAMES);
    for record in records {
        for format in Format::ALL {
            let name = golden_name(&record, format);
            let now = encode(&record, format);
            let golden = golden(&name, &now);
            assert_eq!(now, golden, "{name}");
            assert_eq!(decode(&golden).unwrap(), record, "{name}");
        }
    }
}

#[test]
fn version_1_is_read_as_it_was_written() {
    for (name, record) in [
        ("v1_added.bin", samples::v1_added()),
        ("v1_expunged.bin", samples::v1_expunged()),
    ] {
        let golden = golden(name, &[]);
        assert_eq!(decode(&golden).unwrap(), record, "{name}");
        let dto = v1::RecordV1::deserialize(&mut message_pack::deserializer(&golden[2..])).unwrap();
        let mut again = vec![1, 1];
        dto.serialize(&mut rmp_serde::Serializer::new(&mut again).with_struct_map())
            .unwrap();
        assert_eq!(again, golden, "{name}: a field of version 1 was changed");
    }
}

#[test]
fn an_event_for_outsiders_is_what_its_golden_file_holds() {
    let position = Position {
        generation: Generation(Uuid::from_u128(0x4444)),
        number: 7,
    };
    let mut lines = String::new();
    for record in one_of_each() {
        for happened in Happened::all(position, &Arc::new(record)) {
            lines.push_str(&event_json(&happened));
            lines.push('\n');
        }
    }
    let golden = golden("event.jsonl", lines.as_bytes());
    assert_eq!(lines, String::from_utf8(golden).unwrap());
}

#[test]
fn an_event_has_the_same_fields_in_a_record_and_by_itself() {
    let position = Position {
        generation: Generation(Uuid::nil()),
        number: 1,
    };
    for record in one_of_each() {
        let payload = payload(&record);
        for happened in Happened::all(position, &Arc::new(record)) {
            let Value::Object(mut alone) = serde_json::from_str(&event_json(&happened)).unwrap() else {
                panic!("an event is an object");
            };
            alone.retain(|name, _| !["id", "position", "stamp"].contains(&name.as_str()));
            assert_eq!(payload["events"][happened.index()], Value::Object(alone));
        }
    }
}

proptest! {
    #[test]
    fn what_was_encoded_decodes_to_the_same(record in any_record()) {
        for format in Format::ALL {
            prop_assert_eq!(&decode(&encode(&record, format)).unwrap(), &record);
        }
    }

    #[test]
    fn a_record_cut_short_is_none(record in any_record(), cut in any::<proptest::sample::Index>()) {
        for format in Format::ALL {
            let octets = encode(&record, format);
            let cut = &octets[..cut.index(octets.len())];
            prop_assert!(decode(cut).is_err(), "{format}");
        }
    }

    #[test]
    fn octets_of_any_kind_do_no_harm(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
        for version in [1, VERSION] {
            for format in 1..=3 {
                if let Ok(record) = decode(&[&[version, format], octets.as_slice()].concat()) {
                    prop_assert_eq!(decode(&encode(&record, Format::Json)).unwrap(), record);
                }
            }
        }
    }
}

#[test]
fn the_settings_words_are_read_and_nothing_else() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    assert_eq!("JSON".parse::<Format>(), Err(UnknownFormat));
    assert_eq!("".parse::<Format>(), Err(UnknownFormat));
}

#[test]
fn a_version_or_format_of_a_later_release_says_which() {
    for (version, format) in [(9, 1), (0, 1), (VERSION, 9), (VERSION, 0), (1, 2), (1, 3)] {
        let octets = [version, format, 0x80];
        assert!(
            matches!(decode(&octets), Err(DecodeError::Unknown { version: v, format: f }) if (v, f) == (version, format)),
            "{octets:?}"
        );
    }
}

#[test]
fn a_short_envelope_and_a_malformed_payload_are_told_apart() {
    assert!(matches!(decode(&[]), Err(DecodeError::TooShort)));
    assert!(matches!(decode(&[VERSION]), Err(DecodeError::TooShort)));
    for octets in [
        [1, 1, 0xc1],
        [VERSION, 1, 0xc1],
        [VERSION, 2, b'['],
        [VERSION, 3, 0xff],
    ] {
        assert!(
            matches!(decode(&octets), Err(DecodeError::Malformed { .. })),
            "{octets:?}"
        );
    }
    let empty = [VERSION, 2];
    assert!(matches!(
        decode(&empty),
        Err(DecodeError::Malformed {
            format: Format::Json,
            ..
        })
    ));
}

#[test]
fn a_payload_beyond_the_limit_is_not_begun() {
    let mut octets = vec![b' '; 2 + PAYLOAD_OCTETS_MAX + 1];
    octets[..2].copy_from_slice(&[VERSION, 2]);
    assert!(matches!(
        decode(&octets),
        Err(DecodeError::TooLong { octets }) if octets == PAYLOAD_OCTETS_MAX + 1
    ));
}

#[test]
fn fields_of_a_later_release_are_skipped_in_json_in_any_order() {
    for record in one_of_each() {
        let mut json = payload(&record);
        let deep = json!({"levels": [[[{"of": null}]]]});
        json["later"] = deep.clone();
        for event in json["events"].as_array_mut().unwrap() {
            // A map sorts its names: this one comes first, and `kind` after what goes by it.
            event["a_later"] = deep.clone();
            if let Some(message) = event["messages"].get_mut(0).and_then(Value::as_object_mut) {
                message.insert("later".into(), deep.clone());
            }
        }
        assert_eq!(decode(&json_envelope(&json)).unwrap(), record);
    }
}

#[test]
fn fields_of_a_later_release_are_skipped_in_message_pack() {
    // The record, its event and that one's message all end where the octets end: each gets one field more there.
    let record = samples::record(vec![samples::added(Arrival::Delivered)]);
    let mut octets = encode(&record, Format::MessagePack);
    let behind = |octets: &[u8], name: &[u8]| {
        let at = octets.windows(name.len()).position(|window| window == name);
        at.unwrap() + name.len()
    };
    for map in [
        2,
        behind(&octets, b"events\x91"),
        behind(&octets, b"messages\x91"),
    ] {
        assert_eq!(octets[map] & 0xf0, 0x80, "a map");
        octets[map] += 1;
    }
    for _ in 0..3 {
        octets.extend(b"\xa5later\x81\xa1a\x92\xc0\x90");
    }
    assert_eq!(decode(&octets).unwrap(), record);
}

#[test]
fn an_unknown_kind_makes_a_record_unreadable_and_is_named() {
    let record = samples::record(vec![
        samples::added(Arrival::Delivered),
        Happening::MailboxAdded { name: "a".into() },
    ]);
    let mut json = payload(&record);
    json["events"][1]["kind"] = "MailboxPainted".into();
    let said = decode(&json_envelope(&json)).unwrap_err();
    assert!(matches!(&said, DecodeError::UnknownKind { kind } if kind == "MailboxPainted"));

    let octets = encode(&record, Format::MessagePack);
    let at = octets
        .windows(12)
        .position(|window| window == b"MailboxAdded")
        .unwrap();
    let mut painted = octets;
    painted[at..at + 12].copy_from_slice(b"MailboxDyed!");
    assert!(matches!(decode(&painted), Err(DecodeError::UnknownKind { kind }) if kind == "MailboxDyed!"));

    let alone = samples::record(vec![Happening::MailboxAdded { name: "a".into() }]);
    let mut bincode = encode(&alone, Format::Bincode);
    // Behind the kind: the length of the name and its one letter.
    let at = bincode.len() - 3;
    bincode[at] = 99;
    assert!(matches!(decode(&bincode), Err(DecodeError::UnknownKind { kind }) if kind == "number 99"));
}

#[test]
fn an_unknown_kind_is_repeated_only_so_far() {
    let record = samples::record(vec![Happening::MailboxAdded { name: "a".into() }]);
    let mut json = payload(&record);
    json["events"][0]["kind"] = "k".repeat(10_000).into();
    let Err(DecodeError::UnknownKind { kind }) = decode(&json_envelope(&json)) else {
        panic!("the kind is not known");
    };
    assert_eq!(kind.len(), KIND_CHARS_MAX);
}

#[test]
fn octets_behind_a_bincode_record_are_ignored_and_behind_a_json_one_are_not() {
    let record = samples::v1_expunged();
    let later = |format| [encode(&record, format), b"later".to_vec()].concat();
    assert_eq!(decode(&later(Format::Bincode)).unwrap(), record);
    assert!(decode(&later(Format::Json)).is_err());
}

#[test]
fn what_a_kind_needs_must_be_there() {
    let record = samples::record(vec![samples::added(Arrival::Delivered)]);
    for (field, value) in [
        ("arrival", json!("moved")),
        ("messages", json!(null)),
        ("kind", json!(7)),
    ] {
        let mut json = payload(&record);
        json["events"][0][field] = value;
        assert!(
            matches!(decode(&json_envelope(&json)), Err(DecodeError::Malformed { .. })),
            "{field}"
        );
    }
}

#[test]
fn nesting_without_end_is_refused() {
    let lists = |open: &[u8], times| open.repeat(times);
    let json = [br#"{"later":"#.to_vec(), lists(b"[", 1_000_000)].concat();
    assert!(decode(&envelope(Format::Json, &json)).is_err());
    let message_pack = [b"\x81\xa5later".to_vec(), lists(b"\x91", 1_000_000)].concat();
    assert!(decode(&envelope(Format::MessagePack, &message_pack)).is_err());
    assert!(decode(&[vec![1, 1], message_pack].concat()).is_err());
}

#[test]
fn a_length_is_not_believed_before_the_octets_are_there() {
    // A record of 2^32-1 events, and one of 2^24 events, both in twenty octets.
    for length in [&[0xfc, 0xff, 0xff, 0xff, 0xff][..], &[0xfc, 0, 0, 0, 1]] {
        let bincode = [&[0; 17], length].concat();
        assert!(decode(&envelope(Format::Bincode, &bincode)).is_err());
    }
    let head = rmp_serde::to_vec_named(&json!({"id": Uuid::nil(), "stamp": 1})).unwrap();
    let mut message_pack = head;
    message_pack[0] = 0x83;
    message_pack.extend(b"\xa6events\xdd\xff\xff\xff\xff");
    assert!(decode(&envelope(Format::MessagePack, &message_pack)).is_err());
}

#[test]
fn a_stamp_beyond_what_others_count_exactly_is_still_exact_here() {
    let mut record = samples::v1_expunged();
    record.stamp = Stamp(u64::MAX);
    for format in Format::ALL {
        assert_eq!(decode(&encode(&record, format)).unwrap(), record);
    }
}
