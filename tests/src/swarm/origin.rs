//! A random server.
//!
//! Beside what frames it, a response says in `X-Whole` how long its body is meant to be, so that a
//! caller knows whether all of it came.

use std::io;
use std::sync::Arc;

use fulmar_sim::{Conn, ServerRequest, Sim};

use super::ledger::{Ledger, pattern};
use super::ms;

/// How a server may treat a request.
const MOODS: u64 = 64;

/// Serves port 80 of a host. A rude server says things that are not HTTP, too.
pub(super) fn serve(sim: &Sim, host: &str, ledger: &Arc<Ledger>, is_rude: bool) {
    let ledger = Arc::clone(ledger);
    sim.serve(&format!("{host}:80"), move |conn| {
        let origin = Origin {
            conn,
            ledger: Arc::clone(&ledger),
            is_rude,
        };
        origin.serve()
    });
}

struct Origin {
    conn: Conn,
    ledger: Arc<Ledger>,
    is_rude: bool,
}

impl Origin {
    async fn serve(mut self) -> io::Result<()> {
        loop {
            let goes_on = match self.conn.uniform(0..MOODS) {
                mood @ 0..6 => self.answer_head(mood).await?,
                mood => self.answer(mood).await?,
            };
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Treats a request of which no more than the head was read. False: the connection ends.
    async fn answer_head(&mut self, mood: u64) -> io::Result<bool> {
        let Some(request) = self.conn.request_head().await? else {
            return Ok(false);
        };
        let id = self.arrived(&request);
        match mood {
            0 => {}
            1 => self.conn.reset(),
            2 => self.conn.sleep(ms(20_000)).await,
            3 => {
                self.respond(413, id, "", 10).await?;
                while !self.conn.read(65_536).await?.is_empty() {}
            }
            // A reset follows, where there is more of the request.
            4 => self.respond(503, id, "Connection: close\r\n", 10).await?,
            _ => {
                self.ledger.disclaimed(id);
                self.respond(417, id, "Connection: close\r\n", 0).await?;
            }
        }
        Ok(false)
    }

    /// Treats a whole request. False: the connection ends.
    async fn answer(&mut self, mood: u64) -> io::Result<bool> {
        let Some(request) = self.conn.request().await? else {
            return Ok(false);
        };
        let id = self.arrived(&request);
        let len = number(&request, "x-len") as usize;
        assert!(
            *request.body() == pattern(id, len),
            "the body of {id} is not what was sent"
        );
        if request.method() == "HEAD" {
            let whole = head(200, id, 9, "Content-Length: 9\r\n");
            self.conn.write_all(whole).await?;
            return Ok(true);
        }
        match mood {
            6..12 => self.refuse(mood, id).await,
            12..22 => self.break_off(mood, id).await,
            22..36 => self.dawdle(mood, id).await,
            _ => {
                let len = self.conn.uniform(0..2_000) as usize;
                self.respond(200, id, "", len).await?;
                Ok(true)
            }
        }
    }

    /// Statuses that ask for another attempt.
    async fn refuse(&mut self, mood: u64, id: u64) -> io::Result<bool> {
        let told = format!("Retry-After: {}\r\n", self.conn.uniform(0..4));
        let (status, lines, is_disclaimed) = match mood {
            6 => (503, "", false),
            7 => (503, &*told, true),
            8 => (429, &*told, true),
            9 => (502, "", false),
            10 => (500, "", false),
            _ => (
                self.conn.uniform(0..3) as u16,
                "Connection: close\r\n",
                true,
            ),
        };
        let status = [408, 421, 425]
            .get(usize::from(status))
            .copied()
            .unwrap_or(status);
        if is_disclaimed {
            self.ledger.disclaimed(id);
        }
        let len = self.conn.uniform(0..300) as usize;
        self.respond(status, id, lines, len).await?;
        Ok(!lines.starts_with('C'))
    }

    /// Answers that do not end as they should.
    async fn break_off(&mut self, mood: u64, id: u64) -> io::Result<bool> {
        match mood {
            12 => {}
            13 => self.conn.reset(),
            14 => self.conn.write_all("HTTP/1.1 200 OK\r\nContent-Le").await?,
            15 | 16 => {
                let head = head(200, id, 500, "Content-Length: 500\r\n");
                self.conn.write_all(head).await?;
                self.conn.write_all(pattern(id, 100)).await?;
                match mood {
                    15 => {}
                    _ => self.conn.reset(),
                }
            }
            // Ends with the connection.
            17 => {
                self.conn.write_all(head(200, id, 700, "")).await?;
                self.conn.write_all(pattern(id, 700)).await?;
            }
            18 | 19 if self.is_rude => {
                self.ledger.rude();
                let poison = head(200, 0, 0, "Content-Length: 0\r\n");
                let said = match mood {
                    18 => b"garbage\r\n\r\n".to_vec(),
                    _ => response(200, id, "", 50, &poison),
                };
                self.conn.write_all(said).await?;
                return Ok(true);
            }
            // Closed while idle.
            _ => {
                self.respond(200, id, "", 10).await?;
                let idle = self.conn.uniform(0..300);
                self.conn.sleep(ms(idle)).await;
            }
        }
        Ok(false)
    }

    /// Answers that are well-formed, and slow or large.
    async fn dawdle(&mut self, mood: u64, id: u64) -> io::Result<bool> {
        match mood {
            22..26 => {
                let late = self.conn.uniform(0..3_000);
                self.conn.sleep(ms(late)).await;
                self.respond(200, id, "", 20).await?;
            }
            26 => {
                let whole = response(200, id, "", 40, "");
                for piece in whole.chunks(9) {
                    self.conn.write_all(piece).await?;
                    let pause = self.conn.uniform(0..60);
                    self.conn.sleep(ms(pause)).await;
                }
            }
            27..31 => self.respond_in_chunks(id).await?,
            31 | 32 => {
                let len = self.conn.uniform(20_000..200_000) as usize;
                self.respond(200, id, "", len).await?;
            }
            33 => {
                self.conn
                    .write_all("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
                    .await?;
                self.respond(200, id, "Keep-Alive: timeout=1\r\n", 5)
                    .await?;
            }
            34 => {
                self.conn.write_all(head(204, id, 0, "")).await?;
            }
            _ => {
                self.respond(200, id, "Connection: close\r\n", 1_000)
                    .await?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn respond_in_chunks(&mut self, id: u64) -> io::Result<()> {
        // Of whole patterns, so that the whole is one.
        let lens: Vec<_> = (0..self.conn.uniform(0..8))
            .map(|_| 8 * self.conn.uniform(1..400) as usize)
            .collect();
        let whole = lens.iter().sum();
        let head = head(200, id, whole, "Transfer-Encoding: chunked\r\n");
        self.conn.write_all(head).await?;
        for len in lens {
            let size = format!("{len:x}\r\n").into_bytes();
            let chunk = [size, pattern(id, len), b"\r\n".into()].concat();
            self.conn.write_all(chunk).await?;
            let pause = self.conn.uniform(0..20);
            self.conn.sleep(ms(pause)).await;
        }
        self.conn.write_all("0\r\nX-Sum: 1\r\n\r\n").await
    }

    fn arrived(&self, request: &ServerRequest) -> u64 {
        let id = number(request, "x-id");
        let may_repeat = request.method() != "POST" || request.header("idempotency-key").is_some();
        self.ledger.arrived(id, may_repeat);
        id
    }

    async fn respond(&mut self, status: u16, id: u64, lines: &str, len: usize) -> io::Result<()> {
        self.conn
            .write_all(response(status, id, lines, len, ""))
            .await
    }
}

fn response(status: u16, id: u64, lines: &str, len: usize, more: &str) -> Vec<u8> {
    let head = head(
        status,
        id,
        len,
        &format!("{lines}Content-Length: {len}\r\n"),
    );
    [head.into_bytes(), pattern(id, len), more.into()].concat()
}

/// The head of a response with so long a body.
fn head(status: u16, id: u64, whole: usize, lines: &str) -> String {
    format!("HTTP/1.1 {status} X\r\nX-Id: {id}\r\nX-Whole: {whole}\r\n{lines}\r\n")
}

fn number(request: &ServerRequest, name: &str) -> u64 {
    let value = request.header(name).and_then(|value| value.parse().ok());
    value.unwrap_or_else(|| panic!("a request without {name}"))
}
