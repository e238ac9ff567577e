//! Records as octets: nothing panics, and what decodes encodes to something that decodes to the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mailhorn_events::wire;

fuzz_target!(|octets: &[u8]| {
    if let Ok(record) = wire::decode(octets) {
        let again = wire::decode(&wire::encode(&record)).expect("what was encoded decodes");
        assert_eq!(again, record);
    }
});
