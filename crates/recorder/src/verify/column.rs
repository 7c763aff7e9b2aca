//! Values of the database, each read as the one type that its column has: SQLite lets any other stand there.

use rusqlite::Row;
use rusqlite::types::ValueRef;

pub(super) fn blob<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a [u8]> {
    match row.get_ref(column) {
        Ok(ValueRef::Blob(bytes)) => Some(bytes),
        _ => None,
    }
}

pub(super) fn number(row: &Row<'_>, column: usize) -> Option<u64> {
    match row.get_ref(column) {
        Ok(ValueRef::Integer(value)) => u64::try_from(value).ok(),
        _ => None,
    }
}

pub(super) fn text<'a>(row: &'a Row<'_>, column: usize) -> Option<&'a str> {
    row.get_ref(column).ok().and_then(|value| value.as_str().ok())
}

pub(super) fn is_null(row: &Row<'_>, column: usize) -> bool {
    matches!(row.get_ref(column), Ok(ValueRef::Null))
}

/// A value that may be absent; `None` if something of another type stands there.
pub(super) fn or_null<'a, 's, T>(
    row: &'a Row<'s>,
    column: usize,
    read: impl FnOnce(&'a Row<'s>, usize) -> Option<T>,
) -> Option<Option<T>> {
    if is_null(row, column) { Some(None) } else { read(row, column).map(Some) }
}
