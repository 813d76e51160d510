//! One call after another: requests, bodies, retries, upgrades.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use fulmar_sim::{Backoff, Body, Client, Handle, Jitter, Kind, Retry};
use futures_io::{AsyncRead, AsyncWrite};
use http::Method;

use crate::harness::{AT_ONCE, Act, DIAL, Operation, drop_everywhere};
use crate::support::{drain, ms, secs, text};
use crate::world::{everything, slow_reader};

pub(crate) fn next(client: Client, _: Handle) -> Act {
    Box::pin(async move {
        let next = text(&client, "http://api.test/next").await;
        assert_eq!(next.unwrap(), "/next");
    })
}

const PLAIN: Operation = Operation {
    name: "",
    world: everything,
    act: next,
    next,
    is_warm: false,
    has_rival: false,
    quiet: AT_ONCE,
};

fn act(act: impl Future<Output = ()> + Send + 'static) -> Act {
    Box::pin(act)
}

/// Asks for it and reads to the end, whatever comes.
fn get(client: Client, url: &'static str) -> Act {
    act(async move {
        if let Ok(response) = client.get(url).send().await {
            let _ = drain(response).await;
        }
    })
}

pub(crate) fn quick() -> Retry {
    let backoff = Backoff::constant(ms(10)).jitter(Jitter::None);
    Retry::new(3).backoff(backoff).throttle(backoff)
}

pub(crate) struct Kilobytes(usize);

impl futures_core::Stream for Kilobytes {
    type Item = std::io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(left) = self.0.checked_sub(1) else {
            return Poll::Ready(None);
        };
        self.0 = left;
        Poll::Ready(Some(Ok(Bytes::from(vec![b'u'; 1024]))))
    }
}

pub(crate) fn kilobytes(count: usize) -> Kilobytes {
    Kilobytes(count)
}

fn put(client: Client, url: &'static str, body: Body) -> Act {
    act(async move {
        if let Ok(response) = client.put(url).body(body).send().await {
            let _ = drain(response).await;
        }
    })
}

async fn talk(response: fulmar_sim::Response) {
    let mut stream = response.upgrade().await.unwrap();
    let mut buf = [0; 2048];
    for _ in 0..3 {
        let n = poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &[b'x'; 700])).await;
        poll_fn(|cx| Pin::new(&mut stream).poll_flush(cx))
            .await
            .unwrap();
        let mut left = n.unwrap();
        while left > 0 {
            let n = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf)).await;
            left = left.saturating_sub(n.unwrap());
        }
    }
    poll_fn(|cx| Pin::new(&mut stream).poll_close(cx))
        .await
        .unwrap();
    while poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut buf))
        .await
        .unwrap()
        > 0
    {}
}

macro_rules! operations {
    ($($name:ident: $polls:literal, $operation:expr;)*) => {$(
        #[test]
        fn $name() {
            static OPERATION: Operation = Operation { name: stringify!($name), ..$operation };
            let polls = drop_everywhere(&OPERATION);
            assert!(polls >= $polls, "{polls} polls: it does not wait where it should");
        }
    )*};
}
pub(crate) use operations;

operations! {
    get_fresh: 3, Operation { act: |c, _| get(c, "http://api.test/a"), ..PLAIN };
    get_reused: 2, Operation { act: |c, _| get(c, "http://api.test/a"), is_warm: true, ..PLAIN };
    get_waiting_for_a_place: 3, Operation {
        act: |c, _| get(c, "http://api.test/a"), has_rival: true, ..PLAIN
    };
    get_elsewhere_waiting_for_a_place: 3, Operation {
        act: |c, _| get(c, "http://many.test/a"), has_rival: true, ..PLAIN
    };
    get_with_a_dial_that_fails: 2, Operation {
        act: |c, _| get(c, "http://down.test/"), is_warm: true, ..PLAIN
    };
    get_with_a_dial_that_hangs: 2, Operation {
        act: |c, _| get(c, "http://hung.test/"), is_warm: true, quiet: DIAL, ..PLAIN
    };
    get_with_a_name_that_is_missing: 1, Operation {
        act: |c, _| get(c, "http://missing.test/"), is_warm: true, ..PLAIN
    };
    get_of_several_addresses: 3, Operation { act: |c, _| get(c, "http://many.test/a"), ..PLAIN };
    get_secure: 3, Operation { act: |c, _| get(c, "https://api.test/a"), ..PLAIN };
    get_with_a_deadline_that_passes: 2, Operation {
        act: |c, _| act(async move {
            assert!(c.get("http://api.test/slow").timeout(ms(5)).send().await.is_err());
        }),
        ..PLAIN
    };
    head: 2, Operation {
        act: |c, _| act(async move {
            let head = c.head("http://api.test/a").send().await.unwrap();
            assert_eq!(drain(head).await.unwrap(), 0);
        }),
        ..PLAIN
    };
    upload_sized: 3, Operation {
        act: |c, _| put(c, "http://api.test/a", vec![b'u'; 300_000].into()), ..PLAIN
    };
    upload_streamed: 3, Operation {
        act: |c, _| put(c, "http://api.test/a", Body::stream(kilobytes(300))), ..PLAIN
    };
    upload_to_a_slow_reader: 3, Operation {
        world: slow_reader,
        act: |c, _| put(c, "http://api.test/a", Body::sized_stream(kilobytes(150), 150 << 10)),
        ..PLAIN
    };
    early_response_to_an_upload: 3, Operation {
        act: |c, _| put(c, "http://early.test/a", Body::stream(kilobytes(300))), ..PLAIN
    };
    download_by_chunks: 5, Operation { act: |c, _| get(c, "http://api.test/body"), ..PLAIN };
    download_as_a_body: 5, Operation {
        act: |c, _| act(async move {
            let response = c.get("http://api.test/body").send().await.unwrap();
            let mut body = response.into_body();
            while let Some(chunk) = body.chunk().await.unwrap() {
                drop(chunk);
            }
        }),
        ..PLAIN
    };
    download_bytes: 5, Operation {
        act: |c, _| act(async move {
            let response = c.get("http://api.test/body").send().await.unwrap();
            assert_eq!(response.bytes().await.unwrap().len(), 25);
        }),
        ..PLAIN
    };
    download_text: 5, Operation {
        act: |c, _| act(async move {
            assert_eq!(text(&c, "http://api.test/body").await.unwrap().len(), 25);
        }),
        ..PLAIN
    };
    download_and_upload_it_again: 5, Operation {
        act: |c, _| act(async move {
            let mut pages = Vec::new();
            for path in ["http://api.test/body", "http://api.test/a"] {
                pages.push(text(&c, path).await.unwrap());
            }
            let echo = c.post("http://api.test/b").body(pages.concat()).send().await;
            assert_eq!(echo.unwrap().text().await.unwrap(), "/b");
        }),
        ..PLAIN
    };
    download_json: 3, Operation {
        act: |c, _| act(async move {
            let response = c.get("http://api.test/json").send().await.unwrap();
            assert_eq!(response.json::<Vec<u8>>().await.unwrap(), [1, 2]);
        }),
        ..PLAIN
    };
    handshake_that_hangs: 2, Operation {
        act: |c, _| act(async move {
            let call = c.get("https://mute.test/").timeout(secs(2));
            assert!(call.send().await.unwrap_err().is_timeout());
        }),
        quiet: DIAL,
        ..PLAIN
    };
    handshake_with_the_wrong_server: 2, Operation {
        act: |c, _| act(async move {
            let failed = c.get("https://other.test/").send().await.unwrap_err();
            assert_eq!(failed.kind(), Kind::Connect);
        }),
        ..PLAIN
    };
    retry_in_backoff: 5, Operation {
        act: |c, _| act(async move {
            let busy = c.get("http://api.test/busy").retry(quick()).send().await.unwrap();
            assert_eq!(busy.attempts(), 3);
        }),
        ..PLAIN
    };
    retry_as_the_server_asked: 3, Operation {
        act: |c, _| act(async move {
            let late = c.get("http://api.test/after").retry(Retry::new(2)).send().await.unwrap();
            assert_eq!(late.attempts(), 2);
        }),
        ..PLAIN
    };
    stale_replacement: 5, Operation {
        act: |c, h| act(async move {
            for _ in 0..2 {
                assert_eq!(text(&c, "http://stale.test/").await.unwrap(), "once");
                h.sleep(ms(5)).await;
            }
        }),
        ..PLAIN
    };
    upgrade: 5, Operation {
        act: |c, _| act(async move {
            let call = c.get("http://api.test/shout").upgrade("shout");
            talk(call.send().await.unwrap()).await;
        }),
        ..PLAIN
    };
    upgrade_that_the_server_does_not_read: 2, Operation {
        act: |c, h| act(async move {
            let call = c.get("http://deaf.test/").upgrade("shout").send().await.unwrap();
            let mut stream = call.upgrade().await.unwrap();
            let mut end = Box::pin(h.sleep(secs(1)));
            // The client and the network take some; then it waits until it is dropped.
            poll_fn(|cx| loop {
                if end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match Pin::new(&mut stream).poll_write(cx, &[b'x'; 16 << 10]) {
                    Poll::Ready(taken) => assert!(taken.unwrap() > 0),
                    Poll::Pending => return Poll::Pending,
                }
            })
            .await;
        }),
        ..PLAIN
    };
    upgrade_of_a_connection_on_which_nothing_comes: 2, Operation {
        act: |c, h| act(async move {
            let call = c.get("http://deaf.test/").upgrade("shout").send().await.unwrap();
            let mut stream = call.upgrade().await.unwrap();
            let reads = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut [0; 9]));
            crate::support::until(&h, c.deadline(secs(1)), reads).await;
        }),
        ..PLAIN
    };
    upgrade_that_is_closed_behind_what_nobody_reads: 3, Operation {
        act: |c, h| act(async move {
            let call = c.get("http://deaf.test/").upgrade("shout").send().await.unwrap();
            let mut stream = call.upgrade().await.unwrap();
            let much = vec![b'x'; 16 << 10];
            let writes = async {
                while poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &much)).await.is_ok() {}
            };
            crate::support::until(&h, c.deadline(ms(5)), writes).await;
            let closes = poll_fn(|cx| Pin::new(&mut stream).poll_close(cx));
            crate::support::until(&h, c.deadline(secs(1)), closes).await;
        }),
        ..PLAIN
    };
    connect: 5, Operation {
        act: |c, _| act(async move {
            let call = c.request(Method::CONNECT, "http://proxy.test:3128/");
            let call = call.header("host", "db.test:5432");
            talk(call.send().await.unwrap()).await;
        }),
        ..PLAIN
    };
}
