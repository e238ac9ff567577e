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
