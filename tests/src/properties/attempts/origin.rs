//! An origin that writes down what it sees of every request, and treats each as a script says.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fulmar_sim::{Conn, ServerRequest, Sim};

use super::Script;

/// A request, as far as it came.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) path: String,
    /// Its method and its fields.
    pub(super) head: String,
    /// The bytes of its body, out of their framing.
    pub(super) body: Vec<u8>,
    /// Whether all of its body came.
    pub(super) whole: bool,
    /// Whether it was answered before that.
    pub(super) early: bool,
}

pub(super) type Log = Arc<Mutex<Vec<Sight>>>;

/// What is done with one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Act {
    /// How many bytes behind the head are read before anything is done; the whole if there are less.
    read: usize,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Reset,
    /// No answer for as long as the client stays.
    Silence,
    /// A part of a head.
    Torn,
    /// A part of a body.
    HalfBody(u16),
    Answer(u16, usize),
    /// A body that ends with the connection.
    Last(u16, usize),
}

impl Act {
    /// What follows the script.
    const FINE: Self = Self {
        read: usize::MAX,
        end: End::Answer(200, 10),
    };

    pub(super) fn read(script: &mut Script<'_>) -> Self {
        let read = match script.below(4) {
            0 => script.below(40),
            1 => script.below(60_000),
            _ => usize::MAX,
        };
        let status = [200, 502, 503, 429, 408, 425, 500, 413][script.below(8)];
        let longest = [1, 100, 100_000][script.below(3)];
        let len = script.below(longest);
        let end = match script.below(8) {
            0 => End::Close,
            1 => End::Reset,
            2 => End::Silence,
            3 => End::Torn,
            4 => End::HalfBody(status),
            5 => End::Last(status, len),
            _ => End::Answer(status, len),
        };
        Self { read, end }
    }
}

/// The n-th request over all connections is treated as the n-th act says, and later ones well.
pub(super) fn serve(sim: &Sim, acts: &[Act], log: &Log) {
    let (acts, log) = (acts.to_vec(), Arc::clone(log));
    let count = Arc::new(AtomicUsize::new(0));
    sim.serve("api.test:80", move |mut conn| {
        let (acts, log, count) = (acts.clone(), Arc::clone(&log), Arc::clone(&count));
        async move {
            while let Some(request) = conn.request_head().await? {
                let place = count.fetch_add(1, Ordering::Relaxed);
                let act = acts.get(place).copied().unwrap_or(Act::FINE);
                let whole = see(&mut conn, &request, act, &log).await?;
                if !answer(&mut conn, act.end, whole).await? {
                    return Ok(());
                }
            }
            Ok(())
        }
    });
}

/// Reads as much of a body as the act says; whether that was the whole.
async fn see(conn: &mut Conn, request: &ServerRequest, act: Act, log: &Log) -> io::Result<bool> {
    let fields: Vec<_> = request
        .headers()
        .map(|(n, v)| format!("{n}: {v}"))
        .collect();
    let mut raw = Vec::new();
    let (body, whole) = decode(request, &raw);
    let place = {
        let mut log = log.lock().expect("nobody panics under it");
        log.push(Sight {
            path: request.path().to_owned(),
            head: format!("{} {}", request.method(), fields.join(", ")),
            body,
            whole,
            early: false,
        });
        log.len() - 1
    };
    let mut whole = whole;
    while !whole && raw.len() < act.read {
        let read = conn.read((act.read - raw.len()).min(8_192)).await?;
        if read.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        raw.extend_from_slice(&read);
        let mut log = log.lock().expect("nobody panics under it");
        (log[place].body, log[place].whole) = decode(request, &raw);
        whole = log[place].whole;
    }
    log.lock().expect("nobody panics under it")[place].early = !whole;
    Ok(whole)
}

/// False: the connection ends.
async fn answer(conn: &mut Conn, end: End, whole: bool) -> io::Result<bool> {
    match end {
        End::Close => Ok(false),
        End::Reset => {
            conn.reset();
            Ok(false)
        }
        End::Silence => {
            conn.sleep(Duration::from_secs(5)).await;
            Ok(false)
        }
        End::Torn => {
            conn.write_all("HTTP/1.1 200 O").await?;
            Ok(false)
        }
        End::HalfBody(status) => {
            let head = format!("HTTP/1.1 {status} X\r\nContent-Length: 50\r\n\r\nhalf");
            conn.write_all(head).await?;
            Ok(false)
        }
        End::Answer(status, len) => {
            conn.respond(status, vec![b'x'; len]).await?;
            // What follows of a body that was not read is no request.
            Ok(whole && status != 408)
        }
        End::Last(status, len) => {
            conn.write_all(format!("HTTP/1.1 {status} X\r\n\r\n"))
                .await?;
            conn.write_all(vec![b'x'; len]).await?;
            Ok(false)
        }
    }
}

/// The body as far as it came, and whether that is all of it.
fn decode(request: &ServerRequest, raw: &[u8]) -> (Vec<u8>, bool) {
    if let Some(length) = request.header("content-length") {
        let length: usize = length.parse().expect("a number");
        assert!(raw.len() <= length, "more than was announced");
        return (raw.to_vec(), raw.len() == length);
    }
    if request.header("transfer-encoding").is_none() {
        return (raw.to_vec(), raw.is_empty());
    }
    let (mut body, mut left) = (Vec::new(), raw);
    loop {
        let Some(end) = left.windows(2).position(|two| two == b"\r\n") else {
            return (body, false);
        };
        let size = std::str::from_utf8(&left[..end]).expect("digits");
        let size = usize::from_str_radix(size, 16).expect("a size");
        left = &left[end + 2..];
        body.extend_from_slice(&left[..size.min(left.len())]);
        if left.len() < size + 2 {
            return (body, false);
        }
        if size == 0 {
            return (body, true);
        }
        left = &left[size + 2..];
    }
}
