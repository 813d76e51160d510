//! A GET by hand: the `Call` and `h1` machines over a plain socket, without the client.
//!
//! `cargo run -p fulmar-core --example by_hand -- 127.0.0.1:8080 /path`
#![expect(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "here is the world"
)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;
use fulmar_core::budget::Budget;
use fulmar_core::buf::WriteBuf;
use fulmar_core::call::{Call, Request, Verdict};
use fulmar_core::fault::{Fault, FaultKind, Phase};
use fulmar_core::h1::{BodyLength, Connection, End, Event, Limits, RequestHead, Scratch};
use fulmar_core::http::EncodedFields;
use fulmar_core::retry::{AttemptFacts, Cause, MethodClass, Retry};
use fulmar_core::time::Instant;
use http::{HeaderMap, Method};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let authority = args.next().ok_or("usage: by_hand HOST:PORT [PATH]")?;
    let target = args.next().unwrap_or_else(|| "/".into());
    let (mut rng, origin) = (ChaCha8Rng::from_seed([7; 32]), std::time::Instant::now());
    let now = || Instant::ORIGIN + origin.elapsed();
    let mut budget = Budget::new(now());
    let mut call = Call::new(
        Request::new(MethodClass::of(&Method::GET)),
        Arc::new(Retry::new(3)),
    );
    loop {
        let attempt = call.begin_attempt(now());
        let failed = match get(&authority, &target, now()) {
            Ok(body) => return Ok(std::io::stdout().write_all(&body)?),
            Err(error) => error,
        };
        eprintln!("attempt {attempt}: {failed}");
        let fault = Fault::new(FaultKind::Other, Phase::Connect);
        let facts = AttemptFacts::new(Cause::Fault(fault));
        match call.handle_failure(now(), &facts, None, &mut budget, &mut rng) {
            Verdict::Retry(again) => std::thread::sleep(again.at - now()),
            end => return Err(format!("{failed} ({end:?})").into()),
        }
    }
}

/// One exchange: what the machine queues goes out, what comes in goes to the machine.
fn get(authority: &str, target: &str, now: Instant) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut socket = TcpStream::connect(authority)?;
    let mut connection = Connection::new(Limits::default());
    let (mut rx, mut tx, mut scratch) = (BytesMut::new(), WriteBuf::default(), Scratch::default());
    let (defaults, headers) = (EncodedFields::default(), HeaderMap::new());
    let (method, host) = (&Method::GET, authority);
    let head = RequestHead {
        method,
        target,
        host,
        defaults: &defaults,
        headers: &headers,
        close: true,
    };
    connection.send(now, &head, BodyLength::Empty, &mut tx)?;
    let mut body = Vec::new();
    loop {
        while tx.has_remaining() {
            let n = socket.write(tx.chunk())?;
            tx.advance(n);
        }
        match connection.poll_event(&mut rx, &mut scratch)? {
            Some(Event::Whole(whole, _)) => return Ok(whole.to_vec()),
            Some(Event::Body(chunk)) => body.extend_from_slice(&chunk),
            Some(Event::End(_)) => return Ok(body),
            Some(_) => {}
            None => {
                let mut chunk = [0; 8192];
                match socket.read(&mut chunk)? {
                    0 => connection.handle_eof(End::Clean),
                    n => rx.extend_from_slice(&chunk[..n]),
                }
            }
        }
    }
}
