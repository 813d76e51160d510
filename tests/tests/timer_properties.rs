//! The bag of deadlines.

use fulmar_core::time::Instant;
use fulmar_core::timer::Timers;
use fulmar_tests::properties::timer::timer_ops;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn the_heap_agrees_with_a_list_that_is_searched(data in prop::collection::vec(any::<u8>(), 0..1200)) {
        timer_ops(&data);
    }
}

#[test]
fn an_expired_deadline_stays_registered_until_it_is_moved_or_removed() {
    let at = Instant::from_nanos;
    let mut timers = Timers::new();
    let key = timers.insert(at(5), "call");
    assert_eq!(timers.expire(at(4)), None);
    assert_eq!(timers.expire(at(5)), Some(key));
    assert_eq!((timers.expire(at(9)), timers.poll_timeout()), (None, None));
    assert_eq!(timers.get(key), Some(&"call"));
    assert!(timers.reset(key, at(7)));
    assert_eq!(timers.poll_timeout(), Some(at(7)));
    assert_eq!(timers.remove(key), Some("call"));
    assert_eq!((timers.remove(key), timers.poll_timeout()), (None, None));
    let reused = timers.insert(at(1), "other");
    assert_ne!(reused, key);
    assert_eq!(
        (timers.get(key), timers.get(reused)),
        (None, Some(&"other"))
    );
}
