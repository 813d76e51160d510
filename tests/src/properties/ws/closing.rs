//! How long a connection takes to close: I5.8.

use std::time::Duration;

use fulmar_core::fault::FaultKind;
use fulmar_core::ws::{CloseCode, Config};

use crate::properties::script::Script;
use crate::websocket::{Bench, at, close_frame, frame};

/// I5.8, for a connection: closing takes at most the close timeout and the EOF timeout, whatever
/// the server and the network do, and whether or not anything is written or read.
///
/// # Panics
///
/// Where it takes longer.
pub fn i5_8_closing_takes_6_s_at_most(data: &[u8]) {
    let mut script = Script::new(data);
    let mut bench = Bench::new(&Config::new());
    if script.below(2) == 0 {
        bench.send(vec![0; script.below(60_000) * 10]);
    }
    if script.below(3) == 0 {
        bench.ws.pause(bench.now);
    }
    let start = at(script.below(300_000) as u64 / 16);
    bench.pass_to(start);
    // The server may have been first.
    for _ in 0..script.below(3) {
        server(&mut bench, &mut script);
    }
    let closed = bench.ws.close(bench.now, CloseCode::NORMAL, "");
    assert_eq!(closed, Ok(()));
    // One step in so many, the transport takes what there is.
    let stubborn = script.below(5) * 50 + 1;
    while !bench.ws.is_done() {
        if script.below(stubborn) == 0 {
            bench.written();
        }
        server(&mut bench, &mut script);
        if bench.ws.is_done() {
            break;
        }
        let step = Duration::from_millis(script.below(1000) as u64 + 1);
        let next = bench.now + step;
        let next = bench.ws.poll_timeout().map_or(next, |at| at.min(next));
        bench.now = bench.now.max(next);
        bench.ws.handle_timeout(bench.now, &mut bench.rng);
        let limit = start + Duration::from_secs(6);
        assert!(bench.now <= limit, "I5.8: {}", bench.now);
    }
}

fn server(bench: &mut Bench, script: &mut Script<'_>) {
    match script.below(14) {
        0 => drop(bench.receive(&close_frame(1001, ""))),
        1 => drop(bench.receive(&frame(0x88, &[3]))),
        2 => drop(bench.receive(&frame(0x82, b"more"))),
        3 => drop(bench.receive(&frame(0x89, b"").repeat(200))),
        4 => drop(bench.receive(&[script.byte()])),
        5 => drop(bench.receive(&frame(0x01, b"a part")[..4])),
        6 => bench.ws.pause(bench.now),
        7 => bench.ws.resume(bench.now),
        8 => assert!(bench.ws.close(bench.now, CloseCode::GOING_AWAY, "").is_ok()),
        9 if script.below(4) == 0 => bench.ws.handle_eof(),
        10 if script.below(4) == 0 => bench.ws.handle_fault(FaultKind::Reset),
        _ => {}
    }
}
