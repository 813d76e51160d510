//! Test your timeouts in milliseconds: a guide.
//!
//! You have a program that talks to an HTTP service. It has timeouts, retries and a pool, and no test
//! of any of them, because such a test would need a server that misbehaves on cue, and minutes to run.
//! In a [`Sim`](crate::Sim), the server is five lines, the misbehaviour is a value, a minute takes
//! milliseconds, and a failure can be repeated from a number.
//!
//! # In your own crate
//!
//! Let your code hold a plain `fulmar::Client`, and let whoever makes it choose the network: in `main`
//! that is a runtime, in a test a simulated host. Nothing becomes generic.
//!
//! ```toml
//! [dependencies]
//! fulmar-tokio = "0.1"
//!
//! [dev-dependencies]
//! fulmar-sim = "0.1"        # features = ["proptest"] for plans that shrink
//! ```
//!
//! ```
//! # mod fulmar_tokio { pub use fulmar_sim::*; }
//! // src/lib.rs
//! pub struct Weather {
//!     pub client: fulmar_tokio::Client,
//! }
//!
//! impl Weather {
//!     pub async fn today(&self) -> Result<String, fulmar_tokio::Error> {
//!         let response = self.client.get("http://api.test/today").send().await?;
//!         response.error_for_status()?.text().await
//!     }
//! }
//! # // tests/weather.rs
//! # use fulmar_sim::Sim;
//! # let mut sim = Sim::seeded(1);
//! # sim.serve("api.test:80", |mut conn| async move {
//! #     while conn.request().await?.is_some() { conn.respond(200, "sunny").await?; }
//! #     Ok(())
//! # });
//! # let app = Weather { client: sim.client("laptop").build().unwrap() };
//! # let run = sim.run(async move { app.today().await });
//! # assert_eq!(run.into_output().unwrap(), "sunny");
//! ```
//!
//! In `main` it is `Weather { client: Client::new(Tokio::new()) }`, in a test
//! `Weather { client: sim.client("laptop").build()? }`. Tests are plain `#[test]` functions: there is no
//! runtime to start.
//!
//! What your code does between calls has to be simulated too: sleep with
//! [`Handle::sleep`](crate::Handle::sleep) (a [`Net`](crate::net::Net) has the same), spawn with
//! [`Handle::spawn`](crate::Handle::spawn), and take no other clock. [`check_determinism`] finds
//! where you did.
//!
//! # 1. Retries ride out a bad minute
//!
//! For a minute every fifth packet is lost, and in the middle of it the server restarts, which takes
//! two seconds. A program that asks every five seconds is to notice nothing.
//!
//! ```
//! use std::time::Duration;
//! use fulmar_sim::{Backoff, Error, Fault, Retry, Run, Sim};
//!
//! fn a_bad_minute(retry: Retry) -> Run<Result<u32, Error>> {
//!     let secs = Duration::from_secs;
//!     let mut sim = Sim::seeded(0xC0FFEE);
//!     sim.serve("api.test:80", |mut conn| async move {
//!         while conn.request().await?.is_some() {
//!             conn.respond(200, "sunny").await?;
//!         }
//!         Ok(())
//!     });
//!     sim.between(secs(0)..secs(60), Fault::loss("api.test", 20));
//!     sim.between(secs(30)..secs(32), Fault::down("api.test"));
//!
//!     let client = sim.client("laptop").retry(retry).build().unwrap();
//!     let clock = sim.handle();
//!     sim.run(async move {
//!         let mut sunny = 0;
//!         for _ in 0..12 {
//!             let response = client.get("http://api.test/today").send().await?;
//!             sunny += u32::from(response.text().await? == "sunny");
//!             clock.sleep(secs(5)).await;
//!         }
//!         Ok(sunny)
//!     })
//! }
//!
//! // Three attempts, a second apart, outlast two seconds.
//! let patient = Retry::new(3).backoff(Backoff::constant(Duration::from_secs(1)));
//! let run = a_bad_minute(patient);
//! assert_eq!(run.expect().as_ref().unwrap(), &12);
//! assert!(run.elapsed() > Duration::from_secs(60)); // of virtual time
//! println!("{}", run.timeline()); // see for yourself
//!
//! // And they are what does it: without them, the restart is an error.
//! assert!(a_bad_minute(Retry::never()).expect().is_err());
//! ```
//!
//! # 2. A timeout fires at its exact instant
//!
//! Time is virtual, so a test of a timeout needs no tolerance: it compares with `==`.
//!
//! ```
//! use std::time::Duration;
//! use fulmar_sim::{Phase, Retry, Sim, Timeouts};
//!
//! let secs = Duration::from_secs;
//! let mut sim = Sim::seeded(1);
//! sim.link("laptop", "api.test").latency(Duration::from_millis(50));
//! sim.serve("api.test:80", |mut conn| async move {
//!     while conn.request().await?.is_some() {} // listens, and never says a word
//!     Ok(())
//! });
//! let client = sim.client("laptop")
//!     .timeouts(Timeouts::new().read(secs(5)))
//!     .retry(Retry::never())
//!     .build()
//!     .unwrap();
//! let (net, other) = (sim.handle(), client.clone());
//! let run = sim.run(async move {
//!     // The request is written when the connection is open: after a look-up (1 ms) and a handshake
//!     // (100 ms). From then on, 5 s.
//!     let error = client.get("http://api.test/").send().await.unwrap_err();
//!     assert_eq!(error.phase(), Some(Phase::FirstByte));
//!     assert_eq!(net.now().since_origin(), Duration::from_millis(5_101));
//!
//!     // A limit for the call as a whole counts from its beginning.
//!     let before = net.now();
//!     let error = other.get("http://api.test/").timeout(secs(3)).send().await.unwrap_err();
//!     assert!(error.is_deadline());
//!     assert_eq!(net.now() - before, secs(3));
//! });
//! run.expect();
//! ```
//!
//! # 3. A POST is never sent twice
//!
//! Whenever the connection breaks, an order is placed once at most; and where the client says that it
//! was not processed, it was not. So break it at every millisecond of its life.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//! use std::time::Duration;
//! use fulmar_sim::{Fate, Fault, Sim};
//!
//! let ms = Duration::from_millis;
//! let mut broken = 0;
//! for at in 0..120 {
//!     let mut sim = Sim::seeded(at);
//!     sim.link("laptop", "shop.test").latency(ms(10)..ms(20));
//!     let orders = Arc::new(AtomicU32::new(0));
//!     let (placed, seen) = (Arc::clone(&orders), Arc::clone(&orders));
//!     sim.serve("shop.test:80", move |mut conn| {
//!         let placed = Arc::clone(&placed);
//!         async move {
//!             while let Some(request) = conn.request().await? {
//!                 assert_eq!(request.method(), "POST");
//!                 placed.fetch_add(1, Relaxed);
//!                 conn.sleep(ms(30)).await;
//!                 conn.respond(201, "thanks").await?;
//!             }
//!             Ok(())
//!         }
//!     });
//!     // Checked after every step of the run, not only at its end.
//!     sim.invariant("one order at most", move || match seen.load(Relaxed) {
//!         0 | 1 => Ok(()),
//!         n => Err(format!("{n} orders")),
//!     });
//!     sim.at(ms(at), Fault::reset("shop.test"));
//!
//!     let client = sim.client("laptop").build().unwrap();
//!     let run = sim.run(async move {
//!         client.post("http://shop.test/orders").body("one hat").send().await.map(drop)
//!     });
//!     if let Err(error) = run.expect() {
//!         broken += 1;
//!         assert!(error.fate() != Fate::NotProcessed || orders.load(Relaxed) == 0);
//!     } else {
//!         assert_eq!(orders.load(Relaxed), 1);
//!     }
//! }
//! assert!(broken > 20, "the test breaks something: {broken}");
//! ```
//!
//! # 4. A burst keeps within the pool's limits
//!
//! A hundred tasks at once, ten connections: nobody fails, nobody opens an eleventh, and the last is
//! done when arithmetic says.
//!
//! ```
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//! use std::time::Duration;
//! use fulmar_sim::{Limits, Sim};
//!
//! let ms = Duration::from_millis;
//! let mut sim = Sim::seeded(1);
//! sim.link("laptop", "api.test").latency(ms(5));
//! sim.serve("api.test:80", move |mut conn| async move {
//!     while conn.request().await?.is_some() {
//!         conn.sleep(ms(90)).await; // with the way there and back, 100 ms
//!         conn.respond(200, "").await?;
//!     }
//!     Ok(())
//! });
//! let client = sim.client("laptop").limits(Limits::new().total(10)).build().unwrap();
//! sim.watch(&client); // its limits, after every step
//! sim.check(); // the simulation's own rules, too
//!
//! let done = Arc::new(AtomicU32::new(0));
//! for _ in 0..100 {
//!     let (client, done) = (client.clone(), Arc::clone(&done));
//!     sim.spawn(async move {
//!         client.get("http://api.test/").send().await.unwrap();
//!         done.fetch_add(1, Relaxed);
//!     });
//! }
//! // A look-up of 1 ms, a handshake of 10 ms, ten rounds of 100 ms, and one to see it.
//! let nap = sim.sleep(ms(1_012));
//! let run = sim.run(nap);
//! run.expect();
//! assert_eq!(done.load(Relaxed), 100);
//! assert_eq!(run.stats().connections, 10);
//! ```
//!
//! # 5. A name that fails, then leads elsewhere
//!
//! The primary dies at 10 s. The resolver is down with it for a second, and from 11 s on the name leads
//! to the backup. A call in the middle of that is late, not lost: where names are kept, the old address
//! would be believed for another half minute, so this client keeps none.
//!
//! ```
//! use std::time::Duration;
//! use fulmar_sim::{Backoff, Fault, Retry, Sim};
//!
//! let secs = Duration::from_secs;
//! let mut sim = Sim::seeded(1);
//! for host in ["api.test", "backup.test"] {
//!     sim.serve(&format!("{host}:80"), move |mut conn| async move {
//!         while conn.request().await?.is_some() {
//!             conn.respond(200, host).await?;
//!         }
//!         Ok(())
//!     });
//! }
//! sim.between(secs(10).., Fault::down("api.test"));
//! sim.between(secs(10)..secs(11), Fault::dns_error("api.test"));
//! sim.between(secs(11).., Fault::dns_changed("api.test", "backup.test"));
//!
//! let retry = Retry::new(3).backoff(Backoff::constant(secs(1)));
//! let client = sim.client("laptop").retry(retry).no_dns_cache().build().unwrap();
//! let clock = sim.handle();
//! let run = sim.run(async move {
//!     let mut answers = Vec::new();
//!     for _ in 0..3 {
//!         let response = client.get("http://api.test/").send().await.unwrap();
//!         let attempts = response.attempts();
//!         answers.push((response.text().await.unwrap(), attempts));
//!         clock.sleep(secs(10)).await;
//!     }
//!     answers
//! });
//! let answer = |host: &str, attempts| (host.to_owned(), attempts);
//! assert_eq!(
//!     run.expect(),
//!     &[answer("api.test", 1), answer("backup.test", 2), answer("backup.test", 1)]
//! );
//! ```
//!
//! # Further
//!
//! * **A failure** prints its seed, its faults as Rust, and the end of the trace. `run.trace()` is all of
//!   it; `run.timeline().svg()` is a picture for people. Both show what observed clients say of
//!   themselves: those of [`Sim::client`](crate::Sim::client).
//! * **Many seeds**: `for seed in 0..1000 { .. Sim::seeded(seed) .. }` takes a second or so.
//! * **Any faults**: [`Plan::seeded`](crate::Plan::seeded) draws a plan from a number; with the feature
//!   `proptest`, `strategy::plan` draws plans that shrink to the least that fails.
//! * **Any order**: [`explore`](crate::explore) runs a test in every order in which tasks that are ready
//!   at one instant can run, as far as you let it.
//! * **Leaks**: [`Run::open_sockets`](crate::Run::open_sockets) counts what is open when everything is
//!   dropped.
//! * **Other servers**: a [`Conn`](crate::Conn) reads and writes bytes, too, and is a `futures-io` stream
//!   for servers written over those; [`Sim::listen`](crate::Sim::listen) is for a loop that accepts.
//!
//! [`check_determinism`]: crate::check_determinism
