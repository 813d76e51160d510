//! Hickory as a resolver, against a name server on loopback.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod support;

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use fulmar_hickory::hickory_resolver::proto::op::ResponseCode;
use fulmar_hickory::hickory_resolver::proto::rr::RecordType;
use fulmar_tokio::net::{Answer, Family, FaultKind};
use fulmar_tokio::{Client, Phase, Resolve, Tokio};
use support::Over::{Tcp, Udp};
use support::{address, alias, authority, resolver};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn answer(addrs: &[&str], ttl: u64) -> Answer {
    let addrs = addrs.iter().map(|addr| addr.parse::<IpAddr>().unwrap());
    Answer {
        addrs: addrs.collect(),
        ttl: Some(Duration::from_secs(ttl)),
    }
}

#[tokio::test]
async fn an_answer_has_its_addresses_in_order_and_the_least_of_their_ttls() {
    let (hickory, asked) = resolver(|name, record, _, response| {
        let addrs: [&str; 2] = match record {
            RecordType::A => ["192.0.2.9", "192.0.2.1"],
            _ => ["2001:db8::9", "2001:db8::1"],
        };
        for (addr, ttl) in addrs.into_iter().zip([90, 40]) {
            address(response, name, ttl, addr);
        }
        true
    })
    .await;
    assert!(hickory.is_split());
    let v4 = hickory.resolve("api.test", Family::V4).await.unwrap();
    assert_eq!(v4, answer(&["192.0.2.9", "192.0.2.1"], 40));
    let v6 = hickory.resolve("api.test", Family::V6).await.unwrap();
    assert_eq!(v6, answer(&["2001:db8::9", "2001:db8::1"], 40));
    assert_eq!(asked.lock().unwrap().len(), 2);
    let both = hickory.resolve("api.test", Family::Any).await.unwrap();
    assert_eq!((both.addrs.len(), both.ttl), (4, v4.ttl));
    // Asked again, and not of a cache of its own.
    assert_eq!(asked.lock().unwrap().len(), 4);
}

#[tokio::test]
async fn an_alias_that_ends_sooner_ends_the_answer() {
    let (hickory, _) = resolver(|name, _, _, response| {
        alias(response, name, 7, "other.test.");
        address(response, "other.test.", 300, "192.0.2.1");
        true
    })
    .await;
    let found = hickory.resolve("api.test", Family::V4).await.unwrap();
    assert_eq!(found, answer(&["192.0.2.1"], 7));
}

#[tokio::test]
async fn no_such_name_and_no_such_record_hold_as_long_as_their_zone_says() {
    let (hickory, _) = resolver(|name, _, _, response| {
        let (ttl, minimum) = match name {
            "nowhere.test." => (60, 20),
            _ => (15, 90),
        };
        if name == "nowhere.test." {
            response.metadata.response_code = ResponseCode::NXDomain;
        }
        authority(response, ttl, minimum);
        true
    })
    .await;
    let missing = hickory.resolve("nowhere.test", Family::V4).await.unwrap();
    assert_eq!(missing, answer(&[], 20));
    let nothing = hickory.resolve("mail.test", Family::V6).await.unwrap();
    assert_eq!(nothing, answer(&[], 15));
}

#[tokio::test]
async fn how_long_an_absence_holds_may_not_be_known() {
    let (hickory, _) = resolver(|_, _, _, response| {
        response.metadata.response_code = ResponseCode::NXDomain;
        true
    })
    .await;
    let missing = hickory.resolve("nowhere.test", Family::V4).await.unwrap();
    assert_eq!(missing, Answer::default());
    // One that cannot be asked for.
    let label = "a".repeat(64);
    let missing = hickory.resolve(&label, Family::V4).await.unwrap();
    assert_eq!(missing, Answer::default());
}

#[tokio::test]
async fn a_server_that_fails_is_told_from_a_name_that_is_missing() {
    let (hickory, _) = resolver(|name, _, _, response| {
        response.metadata.response_code = match name {
            "refused.test." => ResponseCode::Refused,
            _ => ResponseCode::ServFail,
        };
        true
    })
    .await;
    for name in ["refused.test", "failed.test"] {
        let fault = hickory.resolve(name, Family::V4).await.unwrap_err();
        assert_eq!(
            (fault.kind, fault.phase),
            (FaultKind::NameFailed, Phase::Dns),
            "{name}"
        );
    }
}

/// With nothing to wait for but the clock, it jumps to the end of the wait.
#[tokio::test(start_paused = true)]
async fn a_server_that_says_nothing_is_a_timeout() {
    let (hickory, _) = resolver(|_, _, _, _| false).await;
    let fault = hickory.resolve("api.test", Family::V4).await.unwrap_err();
    assert_eq!((fault.kind, fault.phase), (FaultKind::TimedOut, Phase::Dns));
}

#[tokio::test]
async fn an_answer_that_does_not_fit_comes_over_tcp() {
    let (hickory, asked) = resolver(|name, _, over, response| {
        if over == Udp {
            response.metadata.truncation = true;
            return true;
        }
        for last in 1..=100 {
            address(response, name, 30, &format!("192.0.2.{last}"));
        }
        true
    })
    .await;
    let found = hickory.resolve("api.test", Family::V4).await.unwrap();
    assert_eq!(
        (found.addrs.len(), found.ttl),
        (100, Some(Duration::from_secs(30)))
    );
    assert_eq!(
        *asked.lock().unwrap(),
        [(RecordType::A, Udp), (RecordType::A, Tcp)]
    );
}

#[test]
fn outside_of_tokio_a_lookup_fails() {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let (hickory, _) = runtime.block_on(resolver(|_, _, _, _| false));
    let lookup = pin!(hickory.resolve("api.test", Family::V4));
    let Poll::Ready(Err(fault)) = lookup.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it waits, or has an answer");
    };
    assert_eq!(fault.kind, FaultKind::RuntimeGone);
}

#[tokio::test]
async fn a_client_asks_it_once_for_as_long_as_the_answer_holds() {
    let (hickory, asked) = resolver(|name, record, _, response| {
        match (name, record) {
            ("api.test.", RecordType::A) => address(response, name, 60, "127.0.0.1"),
            ("api.test.", _) => authority(response, 60, 60),
            _ => {
                response.metadata.response_code = ResponseCode::NXDomain;
                authority(response, 60, 60);
            }
        }
        true
    })
    .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            stream.write_all(response).await.unwrap();
        }
    });
    let client = Client::builder(Tokio::new()).resolver(hickory);
    let client = client.build().unwrap();
    for _ in 0..2 {
        let get = client.get(format!("http://api.test:{port}/"));
        assert_eq!(get.send().await.unwrap().text().await.unwrap(), "ok");
    }
    assert_eq!(asked.lock().unwrap().len(), 2, "AAAA and A");
    for _ in 0..2 {
        let error = client.get("http://nowhere.test/").send().await.unwrap_err();
        assert_eq!(error.phase(), Some(Phase::Dns));
        let kind = error.fault().map(|fault| fault.kind);
        assert_eq!(kind, Some(FaultKind::NameNotFound));
    }
    assert_eq!(asked.lock().unwrap().len(), 4);
}
