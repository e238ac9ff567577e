//! Reading what Redis answers. Nothing is taken for granted: whoever can write there can write anything.

use redis::Value;

/// An integer, as a number or as text.
pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        _ => text(value)?.parse().ok(),
    }
}

/// Text.
pub(crate) fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(octets) => std::str::from_utf8(octets).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

/// The values of an array.
pub(crate) fn array(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(values) => Some(values),
        _ => None,
    }
}

/// An array of so many values.
pub(crate) fn fixed<const N: usize>(value: Value) -> Option<[Value; N]> {
    array(value)?.try_into().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Anything that a server may answer, arrays in arrays included.
    pub(crate) fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            Just(Value::Okay),
            any::<i64>().prop_map(Value::Int),
            any::<f64>().prop_map(Value::Double),
            "[0-9-]{0,12}".prop_map(|text| Value::BulkString(text.into())),
            any::<Vec<u8>>().prop_map(Value::BulkString),
            ".*".prop_map(Value::SimpleString),
        ];
        leaf.prop_recursive(5, 32, 3, |inner| {
            proptest::collection::vec(inner, 0..4).prop_map(Value::Array)
        })
    }

    #[test]
    fn integers_come_as_numbers_or_as_text() {
        assert_eq!(integer(&Value::Int(-7)), Some(-7));
        assert_eq!(integer(&Value::BulkString(b"42".to_vec())), Some(42));
        for bad in [
            Value::Nil,
            Value::BulkString(b"4 2".to_vec()),
            Value::Array(vec![]),
        ] {
            assert_eq!(integer(&bad), None);
        }
    }
}
