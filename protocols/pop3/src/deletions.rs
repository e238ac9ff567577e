//! Which messages of a maildrop are marked as deleted.

/// One bit a message; no memory before the first mark, because most sessions delete nothing.
#[derive(Debug, Default)]
pub(crate) struct Deletions(Option<Box<[u64]>>);

const BITS: usize = 64;

impl Deletions {
    pub(crate) fn contains(&self, index: usize) -> bool {
        let word = self.0.as_deref().and_then(|words| words.get(index / BITS));
        word.is_some_and(|word| word & mask(index) != 0)
    }

    /// Marks a message of a maildrop of `len`.
    pub(crate) fn insert(&mut self, index: usize, len: usize) {
        let words = self
            .0
            .get_or_insert_with(|| vec![0; len.div_ceil(BITS)].into_boxed_slice());
        if let Some(word) = words.get_mut(index / BITS) {
            *word |= mask(index);
        }
    }
}

fn mask(index: usize) -> u64 {
    u64::try_from(index % BITS).map_or(0, |bit| 1 << bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_a_bit_of_its_own() {
        const LEN: usize = 200;
        for marked in 0..LEN {
            let mut deletions = Deletions::default();
            deletions.insert(marked, LEN);
            let found: Vec<usize> = (0..LEN).filter(|index| deletions.contains(*index)).collect();
            assert_eq!(found, vec![marked]);
        }
    }
}
