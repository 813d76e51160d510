//! Many calls under one roof: batches, scopes, and the end of the client.

use fulmar_sim::{Body, Client, Handle, Kind, RequestBuilder, StopReason};

use crate::harness::{AT_ONCE, Act, Operation, drop_everywhere};
use crate::requests::{kilobytes, next, operations, quick};
use crate::support::{PollTimes, join, ms, secs, text};
use crate::world::{everything, slow_reader};

const PLAIN: Operation = Operation {
    name: "",
    world: everything,
    act: next,
    next,
    is_warm: false,
    has_rival: false,
    quiet: AT_ONCE,
};

const URLS: [&str; 5] = [
    "http://api.test/slow",
    "http://api.test/body",
    "http://down.test/",
    "http://many.test/a",
    "http://api.test/a",
];

fn batch_next(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let mut batch = client.batch(URLS.map(|url| client.get(url)));
        let mut good = 0;
        while let Some((_, result)) = batch.next().await {
            if let Ok(response) = result {
                good += usize::from(response.bytes().await.is_ok());
            }
        }
        assert_eq!(good, 4);
    })
}

fn batch_collect(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let urls = ["http://api.test/a", "http://down.test/"];
        let requests = urls.map(|url| client.get(url));
        let results = client.batch(requests).max_in_flight(1).collect_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    })
}

fn batch_failing_fast(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let urls = URLS.into_iter().cycle();
        let mut batch = client.batch(urls.map(|url| client.get(url))).fail_fast();
        let mut is_failed = false;
        while let Some((_, result)) = batch.next().await {
            assert!(!is_failed, "a result behind the last");
            is_failed = result.is_err();
        }
        assert!(is_failed);
    })
}

fn batch_of_bodies(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let requests = URLS.map(|url| client.get(url).retry(quick()));
        let work = async |request: RequestBuilder| request.send().await?.text().await;
        let results = client.batch_with(requests, work).max_in_flight(2);
        let results = results.collect_all().await;
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 4);
    })
}

fn batch_retrying(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let urls = [
            "http://api.test/busy",
            "http://api.test/a",
            "http://api.test/busy",
        ];
        let requests = urls.map(|url| client.get(url).retry(quick()));
        let (mut attempts, mut why) = (Vec::new(), Vec::new());
        for result in client.batch(requests).collect_all().await {
            let response = result.unwrap();
            attempts.push(response.attempts());
            why.extend(response.retry_stop_reason());
        }
        // Three attempts each are allowed, but the origin's budget begins with two retries.
        assert_eq!(attempts, [2, 1, 2]);
        assert_eq!(why, [StopReason::BudgetEmpty; 2]);
    })
}

/// Streamed bodies, to a server that reads slowly, one after the other.
fn batch_of_uploads(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let urls = [
            "http://api.test/a",
            "http://down.test/",
            "http://api.test/b",
        ];
        let requests = urls.map(|url| client.put(url).body(Body::stream(kilobytes(40))));
        let mut batch = client.batch(requests);
        let mut good = 0;
        while let Some((_, result)) = batch.next().await {
            good += usize::from(result.is_ok());
        }
        assert_eq!(good, 2);
    })
}

/// A scope in a branch of a scope; the inner one's deadline passes.
fn scope_in_a_scope(client: Client, handle: Handle) -> Act {
    Box::pin(async move {
        let api = client.clone();
        let scoped = client.scope(client.deadline(secs(1)), |outer| async move {
            let get = api.get("http://api.test/slow");
            outer.branch("beside", async move {
                get.send().await?;
                Ok(())
            });
            outer.branch("inner", async move {
                let calls = api.clone();
                let inner = api.scope(api.deadline(ms(12)), |scope| async move {
                    for url in URLS {
                        let get = calls.get(url);
                        scope.branch(url, async move {
                            let _ = get.send().await?.bytes().await;
                            Ok(())
                        });
                    }
                    handle.sleep(secs(1)).await;
                    Ok(())
                });
                // Its deadline, or a branch that failed: whatever it was, the outer goes on.
                drop(inner.await);
                api.get("http://api.test/a").send().await?;
                Ok(())
            });
            Ok(())
        });
        scoped.await.unwrap();
    })
}

/// Two wait for the rival's connection, and are told.
fn shutdown_with_waiters(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let waits = || text(&client, "http://api.test/a");
        let ends = client.shutdown(client.deadline(secs(5)));
        let ((first, second), ()) = join(join(waits(), waits()), ends).await;
        for told in [first, second] {
            assert_eq!(told.unwrap_err().kind(), Kind::Closed);
        }
    })
}

/// The branch drops a call of its own, at one of its await points, and goes on.
fn scope_with_a_drop(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let api = client.clone();
        let scoped = client.scope(None, |scope| async move {
            for polls in 0..4 {
                let (slow, after) = (
                    api.get("http://api.test/body"),
                    api.get("http://api.test/a"),
                );
                scope.branch("drops", async move {
                    PollTimes::new(polls, slow.send()).await;
                    assert_eq!(after.send().await?.text().await?, "/a");
                    Ok(())
                });
            }
            Ok(())
        });
        scoped.await.unwrap();
    })
}

fn scope(client: Client, handle: Handle) -> Act {
    Box::pin(async move {
        let api = client.clone();
        let scoped = client.scope(None, |scope| async move {
            for url in URLS {
                let get = api.get(url);
                scope.branch(url, async move {
                    let _ = get.send().await?.bytes().await;
                    Ok(())
                });
            }
            handle.sleep(secs(1)).await;
            Ok(())
        });
        let _ = scoped.await;
    })
}

fn shutdown(client: Client, _: Handle) -> Act {
    Box::pin(async move { client.shutdown(client.deadline(secs(5))).await })
}

/// The shutdown that was dropped, or never began, is asked for again, and holds.
fn shutdown_again(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        client.shutdown(client.deadline(secs(5))).await;
        assert_eq!(client.gauges().total, 0);
        let late = text(&client, "http://api.test/late").await.unwrap_err();
        assert_eq!(late.kind(), Kind::Closed);
    })
}

operations! {
    batch_read_one_by_one: 8, Operation { act: batch_next, ..PLAIN };
    batch_collected: 3, Operation { act: batch_collect, ..PLAIN };
    batch_behind_a_rival: 8, Operation { act: batch_next, has_rival: true, ..PLAIN };
    batch_of_uploads_to_a_slow_reader: 4, Operation {
        world: slow_reader, act: batch_of_uploads, ..PLAIN
    };
    batch_of_uploads_behind_a_rival: 4, Operation {
        act: batch_of_uploads, has_rival: true, ..PLAIN
    };
    batch_that_fails_fast: 2, Operation { act: batch_failing_fast, ..PLAIN };
    batch_of_bodies_read_in_place: 4, Operation { act: batch_of_bodies, ..PLAIN };
    batch_with_retries: 5, Operation { act: batch_retrying, ..PLAIN };
    scope_whose_branches_drop_calls: 3, Operation { act: scope_with_a_drop, ..PLAIN };
    scope_of_branches: 2, Operation { act: scope, ..PLAIN };
    scope_in_a_branch_of_a_scope: 4, Operation { act: scope_in_a_scope, ..PLAIN };
    shutdown_while_others_wait: 2, Operation {
        act: shutdown_with_waiters, next: shutdown_again, is_warm: true, has_rival: true, ..PLAIN
    };
    shutdown_of_an_idle_client: 1, Operation {
        act: shutdown, next: shutdown_again, is_warm: true, ..PLAIN
    };
    shutdown_while_a_call_is_under_way: 1, Operation {
        act: shutdown, next: shutdown_again, is_warm: true, has_rival: true, ..PLAIN
    };
}
