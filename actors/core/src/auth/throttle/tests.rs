use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use proptest::prelude::*;

use super::*;

const MINUTE: Duration = Duration::from_mins(1);

fn limits(of_pair_max: u32, of_address_max: u32) -> FailureLimits {
    FailureLimits {
        of_pair_max,
        of_address_max,
        counted_for: 15 * MINUTE,
        entries_max: NonZeroUsize::new(1_000).unwrap(),
    }
}

fn throttle(limits: FailureLimits) -> Throttle {
    Throttle::new(
        limits,
        vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
    )
}

fn peer(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn fail(throttle: &mut Throttle, now: Instant, from: &str, name: &str) -> Duration {
    let attempt = throttle.begin(now, peer(from), name).unwrap();
    throttle.failed(now, attempt)
}

fn is_heard(throttle: &mut Throttle, now: Instant, from: &str, name: &str) -> bool {
    throttle
        .begin(now, peer(from), name)
        .map(|attempt| throttle.void(attempt))
        .is_ok()
}

#[test]
fn the_delay_grows_with_the_failures_up_to_the_longest() {
    let now = Instant::now();
    let expected = [0, 1, 2, 4, 8, 15, 15, 15].map(Duration::from_secs);
    let mut one_name = throttle(limits(100, 100));
    assert_eq!(
        expected.map(|_| fail(&mut one_name, now, "192.0.2.1", "ann")),
        expected
    );
    let mut many_names = throttle(limits(100, 100));
    let mut nth = 0;
    let delays = expected.map(|_| {
        nth += 1;
        fail(&mut many_names, now, "192.0.2.1", &format!("user{nth}"))
    });
    assert_eq!(delays, expected);
}

#[test]
fn a_pair_at_its_limit_is_not_heard_and_all_others_are() {
    let (now, mut throttle) = (Instant::now(), throttle(limits(3, 100)));
    for _ in 0..3 {
        assert!(is_heard(&mut throttle, now, "192.0.2.1", "ann"));
        fail(&mut throttle, now, "192.0.2.1", "ann");
    }
    assert!(!is_heard(&mut throttle, now, "192.0.2.1", "ann"));
    assert!(is_heard(&mut throttle, now, "192.0.2.1", "bob"), "a neighbour");
    assert!(
        is_heard(&mut throttle, now, "192.0.2.2", "ann"),
        "nobody locks a user out from elsewhere"
    );
}

#[test]
fn an_address_at_its_limit_is_not_heard_with_any_name() {
    let (now, mut throttle) = (Instant::now(), throttle(limits(100, 3)));
    for name in ["ann", "bob", "cid"] {
        fail(&mut throttle, now, "192.0.2.1", name);
    }
    assert!(!is_heard(&mut throttle, now, "192.0.2.1", "dan"));
    assert!(is_heard(&mut throttle, now, "192.0.2.2", "ann"));
}

#[test]
fn an_ipv6_network_of_64_bits_is_one_address_and_a_mapped_ipv4_address_is_the_ipv4_one() {
    let now = Instant::now();
    let cases = [
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff:ffff:ffff:ffff", false),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", true),
        ("::ffff:192.0.2.1", "192.0.2.1", false),
        ("::ffff:192.0.2.1", "::ffff:192.0.2.2", true),
        ("192.0.2.1", "192.0.2.2", true),
    ];
    for (fails, then, expected) in cases {
        let mut throttle = throttle(limits(1, 100));
        fail(&mut throttle, now, fails, "ann");
        assert_eq!(
            is_heard(&mut throttle, now, then, "ann"),
            expected,
            "{fails} {then}"
        );
    }
}

#[test]
fn success_forgets_the_pairs_failures_and_not_the_addresss() {
    let (now, mut throttle) = (Instant::now(), throttle(limits(3, 4)));
    fail(&mut throttle, now, "192.0.2.1", "ann");
    fail(&mut throttle, now, "192.0.2.1", "ann");
    let right = throttle.begin(now, peer("192.0.2.1"), "ann").unwrap();
    throttle.succeeded(right);
    fail(&mut throttle, now, "192.0.2.1", "ann");
    assert!(is_heard(&mut throttle, now, "192.0.2.1", "ann"));
    fail(&mut throttle, now, "192.0.2.1", "bob");
    assert!(
        !is_heard(&mut throttle, now, "192.0.2.1", "ann"),
        "the fourth of this address"
    );
}

#[test]
fn failures_are_forgotten_when_their_time_since_the_first_has_passed() {
    let (begin, mut throttle) = (Instant::now(), throttle(limits(2, 100)));
    fail(&mut throttle, begin, "192.0.2.1", "ann");
    fail(&mut throttle, begin + 14 * MINUTE, "192.0.2.1", "ann");
    assert!(!is_heard(
        &mut throttle,
        begin + 15 * MINUTE - Duration::from_nanos(1),
        "192.0.2.1",
        "ann"
    ));
    assert!(is_heard(&mut throttle, begin + 15 * MINUTE, "192.0.2.1", "ann"));
    assert_eq!(
        fail(&mut throttle, begin + 15 * MINUTE, "192.0.2.1", "ann"),
        Duration::ZERO
    );
}

#[test]
fn a_trusted_network_is_neither_limited_nor_slowed() {
    let (now, mut throttle) = (Instant::now(), throttle(limits(1, 1)));
    for from in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
        for _ in 0..20 {
            assert_eq!(fail(&mut throttle, now, from, "ann"), Duration::ZERO, "{from}");
        }
    }
}

#[test]
fn attempts_under_way_count_for_their_pair() {
    let (now, mut throttle) = (Instant::now(), throttle(limits(2, 100)));
    let first = throttle.begin(now, peer("192.0.2.1"), "ann").unwrap();
    let second = throttle.begin(now, peer("192.0.2.1"), "ann").unwrap();
    assert!(!is_heard(&mut throttle, now, "192.0.2.1", "ann"));
    throttle.void(second);
    assert!(is_heard(&mut throttle, now, "192.0.2.1", "ann"));
    throttle.succeeded(first);
    assert_eq!(throttle.pairs.keys(), 0);
}

#[test]
fn attempts_under_way_do_not_count_for_their_address() {
    let (now, mut throttle) = (Instant::now(), throttle(limits(2, 2)));
    let office =
        ["ann", "bob", "cid", "dan"].map(|name| throttle.begin(now, peer("192.0.2.1"), name).unwrap());
    for attempt in office {
        throttle.succeeded(attempt);
    }
    assert_eq!(throttle.addresses.keys(), 0);
}

#[test]
fn a_full_table_forgets_whoever_began_first_and_counts_that() {
    let begin = Instant::now();
    let mut throttle = throttle(FailureLimits {
        entries_max: NonZeroUsize::new(3).unwrap(),
        ..limits(1, 100)
    });
    for (second, from) in (0..).zip(["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]) {
        fail(&mut throttle, begin + Duration::from_secs(second), from, "ann");
    }
    let now = begin + MINUTE;
    assert_eq!(throttle.forgotten_early(), 2, "a pair and an address");
    assert!(!is_heard(&mut throttle, now, "192.0.2.2", "ann"));
    assert!(is_heard(&mut throttle, now, "192.0.2.1", "ann"));
}

#[test]
fn what_has_had_its_time_makes_room_before_anything_is_forgotten_early() {
    let begin = Instant::now();
    let mut throttle = throttle(FailureLimits {
        entries_max: NonZeroUsize::new(3).unwrap(),
        ..limits(1, 100)
    });
    for from in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        fail(&mut throttle, begin, from, "ann");
    }
    fail(&mut throttle, begin + 15 * MINUTE, "192.0.2.4", "ann");
    assert_eq!(throttle.forgotten_early(), 0);
    assert_eq!(throttle.pairs.keys(), 1);
}

/// One step of a random history.
#[derive(Debug, Clone)]
enum Do {
    Begin { peer: u8, name: u8 },
    Fail { attempt: usize },
    Succeed { attempt: usize },
    Void { attempt: usize },
    Wait { minutes: u32 },
}

fn steps() -> impl Strategy<Value = Vec<Do>> {
    let step = prop_oneof![
        4 => (0..3u8, 0..3u8).prop_map(|(peer, name)| Do::Begin { peer, name }),
        3 => any::<usize>().prop_map(|attempt| Do::Fail { attempt }),
        1 => any::<usize>().prop_map(|attempt| Do::Succeed { attempt }),
        1 => any::<usize>().prop_map(|attempt| Do::Void { attempt }),
        1 => (0..10u32).prop_map(|minutes| Do::Wait { minutes }),
    ];
    prop::collection::vec(step, 0..120)
}

/// A count without tables of bounded size: when it began, and how many.
#[derive(Debug, Default)]
struct Model<K: Ord>(BTreeMap<K, (Option<Instant>, u32)>);

impl<K: Ord + Copy> Model<K> {
    fn count(&mut self, now: Instant, key: K) -> &mut u32 {
        let (began, count) = self.0.entry(key).or_default();
        if *count == 0 || began.is_some_and(|began| now - began >= 15 * MINUTE) {
            *began = Some(now);
            *count = 0;
        }
        count
    }
}

proptest! {
    #[test]
    fn who_is_heard_and_how_late_is_what_a_plain_count_says(steps in steps()) {
        let (mut now, mut throttle) = (Instant::now(), throttle(limits(4, 7)));
        let (mut pairs, mut addresses) = (Model::default(), Model::default());
        let mut open: Vec<(Attempt, u8, u8)> = Vec::new();
        for step in steps {
            let (Do::Fail { attempt } | Do::Succeed { attempt } | Do::Void { attempt }) = step else {
                match step {
                    Do::Begin { peer, name } => {
                        let heard = *pairs.count(now, (peer, name)) < 4 && *addresses.count(now, peer) < 7;
                        let begun = throttle.begin(now, IpAddr::from([192, 0, 2, peer]), &name.to_string());
                        prop_assert_eq!(begun.is_ok(), heard);
                        if let Ok(attempt) = begun {
                            *pairs.count(now, (peer, name)) += 1;
                            open.push((attempt, peer, name));
                        }
                    }
                    Do::Wait { minutes } => now += minutes * MINUTE,
                    _ => {}
                }
                continue;
            };
            if open.is_empty() {
                continue;
            }
            let (attempt, peer, name) = open.swap_remove(attempt % open.len());
            let of_pair = pairs.count(now, (peer, name));
            match step {
                Do::Fail { .. } => {
                    let of_address = addresses.count(now, peer);
                    *of_address += 1;
                    let expected = delay((*of_pair).max(*of_address));
                    prop_assert_eq!(throttle.failed(now, attempt), expected);
                }
                Do::Succeed { .. } => {
                    *of_pair = 0;
                    throttle.succeeded(attempt);
                }
                _ => {
                    *of_pair = of_pair.saturating_sub(1);
                    throttle.void(attempt);
                }
            }
        }
    }

    #[test]
    fn the_tables_never_outgrow_their_limit_and_agree_with_each_other(steps in steps()) {
        let entries_max = NonZeroUsize::new(2).unwrap();
        let (mut now, mut throttle) = (Instant::now(), throttle(FailureLimits { entries_max, ..limits(4, 7) }));
        let mut open = Vec::new();
        for step in steps {
            match (step, open.pop()) {
                (Do::Begin { peer, name }, last) => {
                    open.extend(last);
                    open.extend(throttle.begin(now, IpAddr::from([192, 0, 2, peer]), &name.to_string()));
                }
                (Do::Wait { minutes }, last) => {
                    open.extend(last);
                    now += minutes * MINUTE;
                }
                (Do::Fail { .. }, Some(last)) => {
                    throttle.failed(now, last);
                }
                (Do::Succeed { .. }, Some(last)) => throttle.succeeded(last),
                (Do::Void { .. }, Some(last)) => throttle.void(last),
                (_, None) => {}
            }
            prop_assert!(throttle.pairs.keys() <= 2 && throttle.addresses.keys() <= 2);
            throttle.pairs.check();
        }
    }
}
