//! The client without a runtime: threads that block, and one that helps.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::future::{pending, poll_fn, ready};
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use fulmar_blocking::net::Net;
use fulmar_blocking::{Blocking, Client, Timeouts, Wait, block_on};
use fulmar_tests::loopback::Loopback;

/// How many helper threads this process has. The tests that ask run in a process of their own under
/// nextest, and one at a time otherwise.
#[cfg(target_os = "linux")]
fn helpers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "fulmar").count()
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> std::sync::MutexGuard<'static, ()> {
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn eventually(mut what: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !what() {
        assert!(Instant::now() < patience, "it did not come about");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn requests_and_bodies_are_waited_for() {
    let _alone = alone();
    let server = Loopback::echo();
    let client = Client::new(Blocking::new());
    for n in 0..10 {
        let path = format!("/{n}");
        let response = client.get(server.url(&path)).wait().unwrap();
        assert_eq!(response.text().wait().unwrap(), path);
    }
    assert_eq!(server.accepted(), 1);
}

#[test]
#[cfg(target_os = "linux")]
fn the_helper_starts_with_the_first_call_and_ends_with_the_last_handle() {
    let _alone = alone();
    eventually(|| helpers() == 0);
    let server = Loopback::echo();
    let client = Client::new(Blocking::new());
    assert_eq!(helpers(), 0, "nothing to do yet");
    client.get(server.url("/")).wait().unwrap();
    assert_eq!(helpers(), 1);
    let second = client.clone();
    drop(client);
    second.get(server.url("/")).wait().unwrap();
    assert_eq!(server.accepted(), 1);
    drop(second);
    eventually(|| helpers() == 0);
    server.wait_until_open(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_connection_that_was_begun_opens_after_its_net_has_gone() {
    use fulmar_blocking::net::{Endpoint, SocketOptions};

    let _alone = alone();
    eventually(|| helpers() == 0);
    let server = Loopback::echo();
    let url = server.url("");
    let addr = url.strip_prefix("http://").unwrap().parse().unwrap();
    let net = Blocking::new();
    let connecting = net.connect(&Endpoint::Tcp(addr), &SocketOptions::default());
    drop(net);
    eventually(|| helpers() == 0);
    let (opened, is_open) = mpsc::channel();
    thread::spawn(move || opened.send(block_on(connecting)));
    let stream = is_open.recv_timeout(Duration::from_secs(20));
    let stream = stream.expect("somebody turns the reactor").unwrap();
    assert_eq!(helpers(), 1, "for as long as there is a socket");
    drop(stream);
    eventually(|| helpers() == 0);
}

#[test]
#[cfg(target_os = "linux")]
fn the_helper_stays_for_a_stream_that_outlives_the_client() {
    use std::io::Write;

    let _alone = alone();
    eventually(|| helpers() == 0);
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let server = Loopback::start(move |_, stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")?;
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(b"late")?;
        Ok(true)
    });
    let client = Client::new(Blocking::new());
    let response = client.get(server.url("/")).wait().unwrap();
    drop(client);
    go.send(()).unwrap();
    assert_eq!(response.text().wait().unwrap(), "late");
    eventually(|| helpers() == 0);
}

#[test]
fn many_threads_share_one_client() {
    let _alone = alone();
    let server = Loopback::echo();
    let client = Client::new(Blocking::new());
    thread::scope(|scope| {
        for t in 0..16 {
            let (client, server) = (&client, &server);
            scope.spawn(move || {
                for n in 0..50 {
                    let path = format!("/{t}/{n}");
                    let text = client.get(server.url(&path)).wait().unwrap().text().wait();
                    assert_eq!(text.unwrap(), path);
                }
            });
        }
    });
    assert_eq!(
        server.requests().len(),
        800,
        "nothing was lost or sent twice"
    );
    let gauges = client.gauges();
    assert_eq!((gauges.busy, gauges.waiting, gauges.connecting), (0, 0, 0));
}

#[test]
fn one_block_on_works_within_another_and_wakes_neither_too_late() {
    let _alone = alone();
    let server = Loopback::echo();
    let client = Client::new(Blocking::new());
    let text = block_on(async {
        let outer = client.get(server.url("/outer")).send();
        let inner = client.get(server.url("/inner")).wait().unwrap();
        let inner = inner.text().wait().unwrap();
        let mut woken_within = false;
        poll_fn(|cx| {
            if woken_within {
                return Poll::Ready(());
            }
            // Woken before the inner one parks: its thread's token is taken by the inner.
            cx.waker().wake_by_ref();
            woken_within = true;
            client.get(server.url("/third")).wait().unwrap();
            Poll::Pending
        })
        .await;
        inner + &outer.await.unwrap().text().await.unwrap()
    });
    assert_eq!(text, "/inner/outer");
}

#[test]
fn a_task_that_blocks_the_helper_s_own_thread_has_another_take_over() {
    let _alone = alone();
    let server = Loopback::echo();
    let net = Blocking::new();
    let client = Client::new(Blocking::new());
    let observed = Arc::new(Mutex::new(None));
    let (done, wait) = mpsc::channel();
    // The client's own tasks tell its observer, on the helper's thread.
    let nested = client.clone();
    let (url, seen) = (server.url("/nested"), observed.clone());
    net.spawn(Box::pin(async move {
        let net = Blocking::new();
        net.sleep(net.now() + Duration::from_millis(5)).await;
        *seen.lock().unwrap() = Some(nested.get(url).wait().unwrap().text().wait().unwrap());
        done.send(()).unwrap();
    }));
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!(observed.lock().unwrap().take().unwrap(), "/nested");

    // And with the very helper that runs it.
    let net = Arc::new(Blocking::new());
    let (within, (done, wait)) = (net.clone(), mpsc::channel());
    net.spawn(Box::pin(async move {
        block_on(within.sleep(within.now() + Duration::from_millis(5)));
        poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Ready(())
        })
        .await;
        within.sleep(within.now() + Duration::from_millis(5)).await;
        done.send(()).unwrap();
    }));
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
}

#[test]
fn a_task_that_panics_ends_alone() {
    let _alone = alone();
    let net = Blocking::new();
    let (done, wait) = mpsc::channel();
    net.spawn(Box::pin(async { panic!("as this test wants it") }));
    net.spawn(Box::pin(async move { done.send(()).unwrap() }));
    wait.recv_timeout(Duration::from_secs(20)).unwrap();
    let work = net.block(Box::new(|| panic!("as this test wants it")));
    block_on(work);
}

#[test]
fn a_wake_up_while_a_task_runs_is_not_lost() {
    let _alone = alone();
    let net = Blocking::new();
    let (done, wait) = mpsc::channel();
    let mut turns = 0;
    net.spawn(Box::pin(poll_fn(move |cx| {
        turns += 1;
        if turns == 1000 {
            done.send(()).unwrap();
            return Poll::Ready(());
        }
        // By itself, and by another thread that may come before, during or after.
        let waker: Waker = cx.waker().clone();
        if turns % 2 == 0 {
            waker.wake();
        } else {
            thread::spawn(move || waker.wake());
        }
        Poll::Pending
    })));
    wait.recv_timeout(Duration::from_secs(60)).unwrap();
}

#[test]
fn a_task_that_is_always_ready_does_not_hold_timers_up() {
    let _alone = alone();
    let net = Blocking::new();
    let over = Arc::new(AtomicBool::new(false));
    let busy = over.clone();
    net.spawn(Box::pin(poll_fn(move |cx| {
        cx.waker().wake_by_ref();
        if busy.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        Poll::Pending
    })));
    block_on(net.sleep(net.now() + Duration::from_millis(20)));
    over.store(true, Ordering::Relaxed);
}

#[test]
fn a_timer_outlives_what_it_was_made_by() {
    let _alone = alone();
    for _ in 0..200 {
        let net = Blocking::new();
        let timer = net.sleep(net.now() + Duration::from_millis(1));
        drop(net);
        block_on(timer);
    }
}

#[test]
fn many_timers_fire_in_their_order() {
    let _alone = alone();
    let net = Arc::new(Blocking::new());
    let begun = net.now();
    let (done, wait) = mpsc::channel();
    for n in [40_u64, 10, 30, 0, 20] {
        let (timer, done) = (
            net.sleep(begun + Duration::from_millis(n * 3)),
            done.clone(),
        );
        net.spawn(Box::pin(async move {
            timer.await;
            done.send(n).unwrap();
        }));
    }
    // One that is dropped unfired must not wake anybody.
    drop(net.sleep(begun + Duration::from_millis(1)));
    let order: Vec<_> = (0..5)
        .map(|_| wait.recv_timeout(Duration::from_secs(20)).unwrap())
        .collect();
    assert_eq!(order, [0, 10, 20, 30, 40]);
    assert!(net.now() >= begun + Duration::from_millis(120));
}

#[test]
#[cfg(target_os = "linux")]
fn a_task_that_nobody_can_wake_does_not_keep_the_helper() {
    let _alone = alone();
    eventually(|| helpers() == 0);
    let net = Blocking::new();
    net.spawn(Box::pin(pending()));
    net.spawn(Box::pin(ready(())));
    drop(net);
    eventually(|| helpers() == 0);
}

#[test]
fn timeouts_come_from_the_helper() {
    let _alone = alone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let timeouts = Timeouts::new().total(Duration::from_millis(50));
    let client = Client::builder(Blocking::new())
        .timeouts(timeouts)
        .build()
        .unwrap();
    let errors = thread::scope(|scope| {
        let calls: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| client.get(&url).wait().unwrap_err()))
            .collect();
        let calls = calls.into_iter().map(|call| call.join().unwrap());
        calls.collect::<Vec<_>>()
    });
    assert!(errors.iter().all(fulmar_blocking::Error::is_deadline));
}
