//! `Retry-After` from arbitrary bytes.

use fulmar_tests::properties::retry_after::retry_after_values;
use proptest::prelude::*;

/// Pieces of all three forms of a date, of numbers, and of what is neither.
fn field() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "Fri, ",
        "Friday, ",
        "Fri ",
        "31 ",
        "31-Dec-99 ",
        "Dec ",
        "1999 ",
        "23:59:59 ",
        "23:60:61 ",
        "GMT",
        "1999",
        "0",
        "-1",
        "+5",
        "1.5",
        "5, 10",
        "99999999999999999999",
        " ",
        "\t",
        "|",
        "|",
        "Fri, 31 Dec 1999 23:59:59 GMT",
        "Friday, 31-Dec-99 23:59:59 GMT",
        "Fri Dec 31 23:59:59 1999",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
    ]);
    prop::collection::vec(pieces, 0..9).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_bytes_are_a_wait_or_none(data in prop::collection::vec(any::<u8>(), 0..80)) {
        retry_after_values(&data);
    }

    #[test]
    fn pieces_of_dates_and_numbers_are_a_wait_or_none(data in field()) {
        retry_after_values(&data);
    }
}
