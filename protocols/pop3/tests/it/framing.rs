//! The octets of a client may arrive in any pieces.

use mailhorn_pop3::Channel;
use proptest::prelude::*;

use crate::support::{Driver, plaintext, three};

const STREAM: &[u8] =
    b"CAPA\r\nUSER tim\r\nPASS tanstaaf\r\nSTAT\nUIDL\r\n\r\nRETR 2\r\nDELE 1\r\nTOP 3 1\r\n\
    LIST\r\nNOOP xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\
    \r\nSTAT\r\nQUIT\r\n";

fn replies(stream: &[u8], chunk: usize) -> Vec<u8> {
    let mut driver = Driver::new(plaintext(), Channel::Plain, three());
    for part in stream.chunks(chunk) {
        driver.receive(part);
    }
    driver.sent
}

#[test]
fn the_same_replies_come_out_whatever_the_chunk_size() {
    let whole = replies(STREAM, STREAM.len());
    assert!(whole.ends_with(b"-ERR line too long\r\n+OK 2 36\r\n+OK messages deleted, bye\r\n"));
    for chunk in 1..STREAM.len() {
        assert_eq!(replies(STREAM, chunk), whole, "chunk size {chunk}");
    }
}

proptest! {
    #[test]
    fn any_octets_give_the_same_replies_in_any_chunk_size(
        stream in proptest::collection::vec(prop_oneof![
            Just(b"USER tim\r\n".to_vec()),
            Just(b"PASS tanstaaf\r\n".to_vec()),
            Just(b"AUTH LOGIN\r\n".to_vec()),
            Just(b"dGlt\r\n".to_vec()),
            Just(b"RETR 1\r\n".to_vec()),
            Just(b"DELE 2\r\n".to_vec()),
            Just(b"LIST\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
            Just(b"\r\n".to_vec()),
        ], 0..30),
        chunk in 1_usize..50,
    ) {
        let stream = stream.concat();
        prop_assert_eq!(replies(&stream, chunk), replies(&stream, stream.len().max(1)));
    }
}
