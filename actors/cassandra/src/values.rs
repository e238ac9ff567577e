//! Values as CQL has them: octets, with a length told elsewhere.

use bytes::Bytes;
use mailhorn_ports::StoreError;
use uuid::Uuid;

/// A value for a place in a statement; `None` is null.
pub(crate) type Bind = Option<Vec<u8>>;

pub(crate) fn uuid(value: impl Into<Uuid>) -> Bind {
    Some(value.into().as_bytes().to_vec())
}

pub(crate) fn text(value: &str) -> Bind {
    Some(value.as_bytes().to_vec())
}

pub(crate) fn blob(value: &[u8]) -> Bind {
    Some(value.to_vec())
}

pub(crate) fn int(value: i32) -> Bind {
    Some(value.to_be_bytes().to_vec())
}

/// Numbers beyond what CQL has don't occur: they count records, octets and microseconds.
pub(crate) fn bigint(value: u64) -> Bind {
    let value = i64::try_from(value).unwrap_or(i64::MAX);
    Some(value.to_be_bytes().to_vec())
}

/// A list or a set: the number of its elements, then each with its length.
pub(crate) fn list<'a>(values: impl ExactSizeIterator<Item = &'a [u8]>) -> Bind {
    let length = |length: usize| i32::try_from(length).unwrap_or(i32::MAX).to_be_bytes();
    let mut octets = length(values.len()).to_vec();
    for value in values {
        octets.extend_from_slice(&length(value.len()));
        octets.extend_from_slice(value);
    }
    Some(octets)
}

/// A row: its cells in the order of the statement's columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row(pub(crate) Vec<Option<Bytes>>);

impl Row {
    pub(crate) fn octets(&self, column: usize) -> Option<&Bytes> {
        self.0.get(column).and_then(Option::as_ref)
    }

    pub(crate) fn uuid(&self, column: usize) -> Result<Uuid, StoreError> {
        self.maybe_uuid(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn maybe_uuid(&self, column: usize) -> Result<Option<Uuid>, StoreError> {
        self.octets(column)
            .map(|octets| Uuid::from_slice(octets).map_err(|_| misshapen(column)))
            .transpose()
    }

    pub(crate) fn number(&self, column: usize) -> Result<u64, StoreError> {
        self.maybe_number(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn maybe_number(&self, column: usize) -> Result<Option<u64>, StoreError> {
        let Some(octets) = self.octets(column) else {
            return Ok(None);
        };
        let octets: [u8; 8] = octets[..].try_into().map_err(|_| misshapen(column))?;
        let number = u64::try_from(i64::from_be_bytes(octets)).map_err(|_| misshapen(column))?;
        Ok(Some(number))
    }

    pub(crate) fn small(&self, column: usize) -> Result<i32, StoreError> {
        let octets = self.octets(column).ok_or_else(|| missing(column))?;
        let octets: [u8; 4] = octets[..].try_into().map_err(|_| misshapen(column))?;
        Ok(i32::from_be_bytes(octets))
    }

    pub(crate) fn text(&self, column: usize) -> Result<String, StoreError> {
        self.maybe_text(column)?.ok_or_else(|| missing(column))
    }

    pub(crate) fn maybe_text(&self, column: usize) -> Result<Option<String>, StoreError> {
        self.octets(column)
            .map(|octets| String::from_utf8(octets.to_vec()).map_err(|_| misshapen(column)))
            .transpose()
    }

    pub(crate) fn flag(&self, column: usize) -> bool {
        self.octets(column).is_some_and(|octets| octets[..] == [1])
    }

    pub(crate) fn blob(&self, column: usize) -> Bytes {
        self.octets(column).cloned().unwrap_or_default()
    }

    /// The elements of a list or a set; none where it is null.
    pub(crate) fn list(&self, column: usize) -> Result<Vec<Bytes>, StoreError> {
        let Some(octets) = self.octets(column) else {
            return Ok(Vec::new());
        };
        let head: Option<[u8; 4]> = octets.get(..4).and_then(|octets| octets.try_into().ok());
        let count = head.and_then(|head| usize::try_from(i32::from_be_bytes(head)).ok());
        let count = count.ok_or_else(|| misshapen(column))?;
        let mut rest = octets.slice(4..);
        let mut elements = Vec::new();
        for _ in 0..count {
            let head: Option<[u8; 4]> = rest.get(..4).and_then(|octets| octets.try_into().ok());
            let length = head.and_then(|head| usize::try_from(i32::from_be_bytes(head)).ok());
            let end = length.and_then(|length| length.checked_add(4));
            let end = end
                .filter(|end| *end <= rest.len())
                .ok_or_else(|| misshapen(column))?;
            elements.push(rest.slice(4..end));
            rest = rest.slice(end..);
        }
        Ok(elements)
    }
}

fn missing(column: usize) -> StoreError {
    StoreError::Damaged(format!("a row has nothing in column {column}"))
}

fn misshapen(column: usize) -> StoreError {
    StoreError::Damaged(format!(
        "a row has something else than expected in column {column}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_comes_back() {
        for values in [vec![], vec![b"a".to_vec()], vec![vec![], b"two".to_vec()]] {
            let bound = list(values.iter().map(Vec::as_slice)).map(Bytes::from);
            assert_eq!(Row(vec![bound]).list(0).unwrap(), values);
        }
    }

    #[test]
    fn what_is_not_a_list_is_told_and_not_believed() {
        for bad in [
            &b"\0\0\0\x01"[..],
            b"\0\0",
            b"\0\0\0\x01\0\0\0\x09ab",
            b"\xff\xff\xff\xff",
            b"\0\0\0\x01\xff\xff\xff\xff",
        ] {
            let row = Row(vec![Some(Bytes::copy_from_slice(bad))]);
            assert!(matches!(row.list(0), Err(StoreError::Damaged(_))), "{bad:?}");
        }
    }

    #[test]
    fn cells_are_what_they_were_bound_as() {
        let id = Uuid::from_u128(7);
        let cells = [uuid(id), bigint(9), int(-3), text("a"), None];
        let row = Row(cells.map(|cell| cell.map(Bytes::from)).into());
        assert_eq!(row.uuid(0).unwrap(), id);
        assert_eq!(row.number(1).unwrap(), 9);
        assert_eq!(row.small(2).unwrap(), -3);
        assert_eq!(row.text(3).unwrap(), "a");
        assert_eq!(row.maybe_number(4).unwrap(), None);
        assert!(matches!(row.uuid(1), Err(StoreError::Damaged(_))));
        assert!(matches!(row.number(9), Err(StoreError::Damaged(_))));
    }
}
