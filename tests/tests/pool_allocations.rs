//! What the pool allocates on the way that nearly every request takes: nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::pool::{Ask, Config, Connection, Lease, Limits, Pool};
use fulmar_core::time::Instant;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting each thread's calls.
struct Counting;

#[allow(
    unsafe_code,
    reason = "a global allocator is unsafe by its trait; it only passes on"
)]
// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those of the trait.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

const ROUTE: &str = "https://api.example.test";

/// A pool with one idle connection, and the time.
fn warm(limits: Limits) -> (Pool<Box<u64>, ()>, Instant) {
    let now = Instant::from_nanos(1_000_000_000);
    let mut rng = ChaCha8Rng::from_seed([1; 32]);
    let config = Config {
        limits,
        max_lifetime: Some(Duration::MAX),
        ..Config::new()
    };
    let mut pool = Pool::new(config, [1, 2], now);
    let Ok(Lease::Dial(ticket, slot)) = pool.checkout(now, ROUTE, Ask::default()) else {
        panic!("the first dials")
    };
    pool.handle_connected(now, slot, Connection::Exclusive(Box::new(7)), &mut rng);
    let Some(Ok(Lease::Idle(slot, conn, _))) = pool.poll_lease(now, ticket) else {
        panic!("it is connected")
    };
    pool.park(now, slot, conn, None);
    while pool.poll_wake().is_some() {}
    (pool, now)
}

#[test]
fn checkout_and_park_allocate_nothing() {
    let (mut pool, mut now) = warm(Limits::new());
    let count = allocations(|| {
        for _ in 0..100_000 {
            now = now + Duration::from_millis(1);
            let Ok(Lease::Idle(slot, conn, _)) = pool.checkout(now, ROUTE, Ask::default()) else {
                panic!("a hit")
            };
            pool.park(now, slot, conn, None);
            if pool.poll_timeout().is_some_and(|at| at <= now) {
                pool.handle_timeout(now);
            }
        }
    });
    assert_eq!(count, 0);
}

#[test]
fn waiting_and_handing_over_allocate_nothing_once_warm() {
    let (mut pool, mut now) = warm(Limits::new().total(1));
    let mut exchange = || {
        now = now + Duration::from_millis(1);
        let Ok(Lease::Idle(slot, conn, _)) = pool.checkout(now, ROUTE, Ask::default()) else {
            panic!("a hit")
        };
        let Ok(Lease::Wait(ticket)) = pool.checkout(now, ROUTE, Ask::default()) else {
            panic!("the limit is 1")
        };
        pool.park(now, slot, conn, None);
        assert_eq!(pool.poll_wake(), Some(0));
        let Some(Ok(Lease::Idle(slot, conn, _))) = pool.poll_lease(now, ticket) else {
            panic!("it is handed over")
        };
        pool.park(now, slot, conn, None);
    };
    exchange();
    let count = allocations(|| (0..1_000).for_each(|_| exchange()));
    assert_eq!(count, 0);
}
