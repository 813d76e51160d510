//! Every way for a call to end without a response: each has its reason, and one end that is told to
//! who watches (I1.7).

use std::collections::BTreeMap;
use std::time::Duration;

use fulmar_sim::StopReason::{
    BodyNotReplayable, DeadlineExpired, DeadlineWouldExpire, MaxAttempts, MaybeProcessed,
    NotRetryable,
};
use fulmar_sim::trace::Event;
use fulmar_sim::{
    Backoff, Body, Client, Error, Handle, Jitter, Kind, Limits, Retry, StopReason, Timeouts,
};

use super::kinds::{Make, ROWS, Scene};
use super::support::{ms, secs, silent};

/// How a call ends, its reason, and how many attempts it made.
const WAYS: [(&str, Make, StopReason, u32); 17] = [
    (
        "no room in flight",
        |s| in_flight(s, Ends::Full),
        NotRetryable,
        0,
    ),
    (
        "no place in flight in time",
        |s| in_flight(s, Ends::PoolTimeout),
        NotRetryable,
        0,
    ),
    (
        "no place in flight by its deadline",
        |s| in_flight(s, Ends::Deadline),
        DeadlineExpired,
        0,
    ),
    (
        "shutdown in the queue for a place",
        |s| in_flight(s, Ends::Shutdown),
        NotRetryable,
        0,
    ),
    (
        "shutdown in the pool's queue",
        |s| shut_down(s, limited(1), ms(0)),
        NotRetryable,
        1,
    ),
    ("shutdown in a dial", in_a_dial, NotRetryable, 1),
    (
        "cut in an exchange",
        |s| shut_down(s, limited(2), ms(0)),
        NotRetryable,
        1,
    ),
    (
        "cut later in an exchange",
        |s| shut_down(s, limited(2), secs(1)),
        NotRetryable,
        1,
    ),
    ("cut in a body", in_a_body, NotRetryable, 1),
    ("shutdown in a rest", in_a_rest, NotRetryable, 1),
    (
        "all attempts used",
        |s| refused(s, Timeouts::new()),
        MaxAttempts,
        3,
    ),
    (
        "no time for another",
        |s| refused(s, Timeouts::new().total(ms(1_500))),
        DeadlineWouldExpire,
        2,
    ),
    ("the deadline passes", |s| unanswered(s), DeadlineExpired, 1),
    (
        "the deadline has passed",
        |s| late(s, ms(0)),
        DeadlineExpired,
        0,
    ),
    (
        "the deadline passes in a rest",
        |s| late(s, ms(1_200)),
        DeadlineExpired,
        1,
    ),
    (
        "it may have been processed",
        |s| broken_off(s, false),
        MaybeProcessed,
        1,
    ),
    (
        "its body is gone",
        |s| broken_off(s, true),
        BodyNotReplayable,
        1,
    ),
];

const URL: &str = "http://api.test/";

enum Ends {
    Full,
    PoolTimeout,
    Deadline,
    Shutdown,
}

fn limited(connections: u32) -> Limits {
    Limits::new().total(connections).waiters(1)
}

fn holding(client: &Client) -> impl Future<Output = ()> + Send + use<> {
    let client = client.clone();
    async move {
        let _ = client.get(URL).send().await;
    }
}

fn in_flight(s: &mut Scene, how: Ends) -> Error {
    silent(s, "api.test:80");
    let timeouts = Timeouts::new().pool(ms(300)).first_byte(secs(20));
    let client = s
        .builder()
        .max_in_flight(1)
        .limits(limited(1))
        .timeouts(timeouts);
    let client = client.retry(Retry::never()).build().unwrap();
    let handle = s.handle();
    let run = s.run(async move {
        handle.spawn(holding(&client));
        handle.sleep(ms(10)).await;
        let get = client.get(URL);
        match how {
            Ends::Full => {
                handle.spawn(holding(&client));
                handle.sleep(ms(10)).await;
            }
            Ends::PoolTimeout => {}
            Ends::Deadline => return get.timeout(ms(200)).send().await.unwrap_err(),
            Ends::Shutdown => shut_down_soon(&client, secs(1), &handle),
        }
        get.send().await.unwrap_err()
    });
    run.into_output()
}

/// Shuts the client down in 100 ms; what is under way has so much longer.
fn shut_down_soon(client: &Client, grace: Duration, handle: &Handle) {
    let (client, sleeper) = (client.clone(), handle.clone());
    handle.spawn(async move {
        sleeper.sleep(ms(100)).await;
        client.shutdown(sleeper.now() + grace).await;
    });
}

/// One call holds a connection, and another, where there is none for it or one more, is under way
/// when the client is shut down.
fn shut_down(s: &mut Scene, limits: Limits, grace: Duration) -> Error {
    silent(s, "api.test:80");
    let client = s.builder().limits(limits).retry(steady()).build().unwrap();
    let handle = s.handle();
    let run = s.run(async move {
        handle.spawn(holding(&client));
        handle.sleep(ms(10)).await;
        shut_down_soon(&client, grace, &handle);
        client.get(URL).send().await.unwrap_err()
    });
    run.into_output()
}

fn in_a_dial(s: &mut Scene) -> Error {
    s.host("api.test");
    s.between(.., fulmar_sim::Fault::half_open("api.test"));
    let client = s.builder().retry(steady()).build().unwrap();
    let handle = s.handle();
    let run = s.run(async move {
        shut_down_soon(&client, ms(0), &handle);
        client.get(URL).send().await.unwrap_err()
    });
    run.into_output()
}

fn in_a_body(s: &mut Scene) -> Error {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello";
    super::support::raw(s, "api.test:80", answer);
    let client = s.builder().build().unwrap();
    let handle = s.handle();
    let run = s.run(async move {
        shut_down_soon(&client, ms(0), &handle);
        let response = client.get(URL).send().await.unwrap();
        response.bytes().await.unwrap_err()
    });
    run.into_output()
}

fn in_a_rest(s: &mut Scene) -> Error {
    s.host("api.test");
    let client = s.builder().retry(steady()).build().unwrap();
    let handle = s.handle();
    let run = s.run(async move {
        shut_down_soon(&client, ms(0), &handle);
        client.get(URL).send().await.unwrap_err()
    });
    run.into_output()
}

/// Three attempts, a second apart.
fn steady() -> Retry {
    let backoff = Backoff::constant(secs(1)).jitter(Jitter::None);
    Retry::new(3).backoff(backoff).throttle(backoff)
}

fn refused(s: &mut Scene, timeouts: Timeouts) -> Error {
    s.host("api.test");
    let client = s.builder().retry(steady()).timeouts(timeouts);
    let client = client.build().unwrap();
    s.run(async move { client.get(URL).send().await.unwrap_err() })
        .into_output()
}

fn unanswered(s: &mut Scene) -> Error {
    silent(s, "api.test:80");
    let timeouts = Timeouts::new().total(ms(500));
    let client = s.builder().retry(steady()).timeouts(timeouts);
    let client = client.build().unwrap();
    s.run(async move { client.get(URL).send().await.unwrap_err() })
        .into_output()
}

/// A call that nobody polls from its first failure until long after its deadline.
fn late(s: &mut Scene, total: Duration) -> Error {
    s.host("api.test");
    let client = s.builder().retry(steady()).build().unwrap();
    let handle = s.handle();
    let run = s.run(async move {
        let mut call = client.get(URL).deadline(handle.now() + total).send();
        let soon = handle.now() + ms(100);
        if let Some(ended) = super::support::until(&handle, soon, &mut call).await {
            return ended.unwrap_err();
        }
        handle.sleep(secs(5)).await;
        let error = call.await.unwrap_err();
        // The deadline is no word on the attempt before it.
        assert!(format!("{error:#}").contains("attempt 1: connection refused after 3ms"));
        error
    });
    run.into_output()
}

/// A request that is read, and then its connection is reset.
fn broken_off(s: &mut Scene, is_streamed: bool) -> Error {
    s.serve("api.test:80", |mut conn| async move {
        conn.request().await?;
        conn.reset();
        Ok(())
    });
    let client = s.builder().retry(steady()).build().unwrap();
    let run = s.run(async move {
        let taken = std::sync::Arc::default();
        let post = if is_streamed {
            let body = Body::stream(super::uploads::kilobytes(3, &taken));
            client.put(URL).body(body)
        } else {
            client.post(URL).body("x")
        };
        post.send().await.unwrap_err()
    });
    run.into_output()
}

/// I1.7: each call that began has ended, once.
#[track_caller]
fn assert_ends_once(name: &str, scene: &Scene) {
    let mut calls = BTreeMap::<u64, (u32, u32)>::new();
    for (call, event) in scene.heard() {
        let (starts, ends) = calls.entry(call).or_default();
        match event {
            Event::CallStarted { .. } => *starts += 1,
            Event::CallEnded { .. } => *ends += 1,
            _ => {}
        }
    }
    calls.remove(&0);
    for (call, told) in calls {
        assert_eq!(told, (1, 1), "call {call}: {name}");
    }
}

#[test]
fn every_call_that_fails_has_a_reason_and_every_attempt_of_it_a_record() {
    for (name, make, reason, tries) in WAYS {
        let mut scene = Scene::new();
        let error = make(&mut scene);
        assert_eq!(error.retry_stop_reason(), Some(reason), "{name}: {error:#}");
        let told = (error.tries(), error.attempts().len());
        assert_eq!(told, (tries, tries as usize), "{name}: {error:#}");
        let is_begun = error.attempts().iter().all(|record| record.number > 0);
        assert!(is_begun, "{name}: {error:#}");
        for record in error.attempts() {
            let sum = record.spent.in_phase(fulmar_sim::Phase::Total) + record.suspended();
            assert_eq!(sum, record.ended - record.started, "{name}: {record:?}");
        }
        assert_ends_once(name, &scene);
    }
}

#[test]
fn every_kind_of_error_has_a_reason_and_one_end() {
    for (kind, phase, make) in ROWS {
        let mut scene = Scene::new();
        let error = make(&mut scene);
        let has_reason = error.retry_stop_reason().is_some();
        // The builder knows no calls.
        assert_eq!(has_reason, kind != Kind::Builder, "{error:#}");
        assert_ends_once(&format!("{kind:?} {phase:?}"), &scene);
    }
}
