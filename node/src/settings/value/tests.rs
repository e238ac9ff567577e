use super::*;
use proptest::prelude::*;

#[test]
fn durations_have_a_unit_and_only_zero_goes_without() {
    let table = [
        ("250ms", Some(Duration::from_millis(250))),
        ("30s", Some(Duration::from_secs(30))),
        ("10m", Some(Duration::from_secs(600))),
        ("24h", Some(Duration::from_secs(86_400))),
        ("7d", Some(Duration::from_secs(7 * 86_400))),
        ("0", Some(Duration::ZERO)),
        ("0s", Some(Duration::ZERO)),
        ("30", None),
        ("s", None),
        ("", None),
        ("-1s", None),
        ("1.5h", None),
        ("1 h", None),
        ("30S", None),
        ("99999999999999999999d", None),
        ("18446744073709551615d", None),
    ];
    for (text, expected) in table {
        assert_eq!(Duration::parse(text), expected, "{text:?}");
    }
}

#[test]
fn sizes_are_octets_or_binary_units() {
    let table = [
        ("65536", Some(65_536)),
        ("64KiB", Some(65_536)),
        ("50MiB", Some(50 << 20)),
        ("4GiB", Some(4 << 30)),
        ("0", Some(0)),
        ("50MB", None),
        ("50 MiB", None),
        ("MiB", None),
        ("1e6", None),
    ];
    for (text, expected) in table {
        assert_eq!(ByteSize::parse(text).map(ByteSize::octets), expected, "{text:?}");
    }
}

#[test]
fn lists_are_split_at_commas_and_only_lists_take_arrays() {
    let two: Vec<u32> = vec![1, 2];
    assert_eq!(Vec::<u32>::read(&Raw::One("1, 2".into())), Some(two.clone()));
    assert_eq!(
        Vec::<u32>::read(&Raw::Many(vec!["1".into(), " 2".into()])),
        Some(two)
    );
    assert_eq!(Vec::<u32>::read(&Raw::One(String::new())), Some(vec![]));
    assert_eq!(Vec::<u32>::read(&Raw::One("1,,2".into())), None);
    assert_eq!(u32::read(&Raw::Many(vec!["1".into()])), None);
}

#[test]
fn levels_are_words_and_a_bare_module_is_no_level() {
    let table = [
        ("info", true),
        ("warn,mailhorn_core::log=trace", true),
        ("off", true),
        ("3", false),
        ("mailhorn_core", false),
        ("info,mailhorn_core=loud", false),
        ("info,=debug", false),
        ("", false),
    ];
    for (text, allowed) in table {
        assert_eq!(Levels::parse(text).is_some(), allowed, "{text:?}");
    }
}

#[test]
fn a_node_name_is_short_and_plain() {
    for (text, allowed) in [("mx-1.example", true), ("", false), ("a b", false), ("ä", false)] {
        assert_eq!(NodeName::parse(text).is_some(), allowed, "{text:?}");
    }
    assert!(NodeName::parse(&"x".repeat(63)).is_some());
    assert!(NodeName::parse(&"x".repeat(64)).is_none());
}

#[test]
fn threads_are_never_none() {
    assert_eq!(Threads::parse("0"), None);
    assert_eq!(Threads::parse("1025"), None);
    assert_eq!(Threads::parse("cores"), Some(Threads::Cores));
    assert!(Threads::Cores.count().get() >= 1);
}

proptest! {
    #[test]
    fn a_duration_is_read_as_it_was_written(millis in 0u64..10_000_000_000) {
        let duration = Duration::from_millis(millis);
        let toml = duration.to_toml();
        prop_assert_eq!(Duration::parse(toml.trim_matches('"')), Some(duration));
    }

    #[test]
    fn a_size_is_read_as_it_was_written(octets: u64) {
        let toml = ByteSize(octets).to_toml();
        prop_assert_eq!(ByteSize::parse(toml.trim_matches('"')), Some(ByteSize(octets)));
    }
}
