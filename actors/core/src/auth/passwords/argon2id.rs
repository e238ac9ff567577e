//! argon2id, computed in memory that the thread keeps.

use std::cell::RefCell;

use argon2::password_hash::{Error, Output};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use mailhorn_sasl::Secret;

/// What is larger isn't kept: from 32 MiB on the allocator gives memory back to the system by itself.
const KEPT_BLOCKS_MAX: usize = 32 * 1024 - 1;

thread_local! {
    /// Room for one hash, from the thread's first hash to its end. Given back each time, it would be cut up: something small
    /// that stays is put into it, the next hash takes other memory, and guessing passwords cost a node half a gigabyte.
    static KEPT: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// The hash of a password, as long as `params` say, or else 32 octets.
pub(super) fn hash(params: Params, password: &Secret, salt: &[u8]) -> Result<Output, Error> {
    let octets = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let blocks = params.block_count();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let compute = |memory: &mut [Block]| {
        Output::init_with(octets, |out| {
            Ok(argon2.hash_password_into_with_memory(password.declassify(), salt, out, memory)?)
        })
    };
    if blocks > KEPT_BLOCKS_MAX {
        return compute(&mut vec![Block::default(); blocks]);
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.len() < blocks {
            *kept = Vec::new();
            kept.resize(blocks, Block::default());
        }
        compute(kept.get_mut(..blocks).unwrap_or_default())
    })
}

#[cfg(test)]
mod tests {
    use argon2::{PasswordHash, PasswordVerifier};

    use super::*;

    fn params(memory_kib: u32) -> Params {
        Params::new(memory_kib, 2, 1, None).unwrap()
    }

    #[test]
    fn memory_that_was_used_before_changes_no_hash() {
        let (password, salt) = (Secret::new(b"correct horse".as_slice()), b"a salt of octets");
        let fresh = hash(params(64), &password, salt).unwrap();
        hash(
            params(256),
            &Secret::new(b"another".as_slice()),
            b"and another salt",
        )
        .unwrap();
        assert_eq!(hash(params(64), &password, salt).unwrap(), fresh);
        let kept = KEPT.with_borrow(Vec::len);
        assert_eq!(kept, params(256).block_count());
    }

    #[test]
    fn it_is_what_another_reading_of_the_rfc_verifies() {
        let (password, salt) = (Secret::new(b"correct horse".as_slice()), b"a salt of octets");
        let made = hash(params(64), &password, salt).unwrap();
        let phc = format!("$argon2id$v=19$m=64,t=2,p=1$YSBzYWx0IG9mIG9jdGV0cw${made}");
        let phc = PasswordHash::new(&phc).unwrap();
        assert_eq!(Argon2::default().verify_password(b"correct horse", &phc), Ok(()));
    }
}
