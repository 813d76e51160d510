//! A cache in front of any resolver: one query for all who ask, and old addresses rather than none.
//!
//! ```text
//!   age of the addresses     what an asker gets             what else happens
//!   ---------------------    ---------------------------    --------------------------------------
//!   below 0.85 .. 0.95 TTL   them
//!   below TTL                them                           a query renews them
//!   below TTL + 60 s         them                           a query renews them
//!   below TTL + 1 h          a query's answer, or them      the query goes on
//!                            after 1.8 s or if it fails
//!   more, or none            a query's answer
//! ```
//!
//! * Addresses hold for their TTL, from 1 s to 300 s; 30 s where the resolver names none.
//! * That there are none holds for as long as the resolver says, from 1 s to 30 s; 5 s where it does
//!   not say (RFC 2308). It takes the place of addresses that were there: it is an answer, and no
//!   failure (RFC 8767 section 4).
//! * A failure holds for 1 s, doubling to 60 s, and for 30 s where there are addresses to give out
//!   meanwhile (RFC 9520, RFC 8767). Who asks in that time and can wait for its end waits; others get
//!   the failure.
//! * Addresses in use are renewed ahead of their end: those asked for, or
//!   [touched](Cache::touch), in the last 30 s.
//!
//! Invariants, each a property in `tests/`:
//!
//! * Nothing is given out that is older than its TTL and an hour.
//! * At most one query is under way for a name and record, and it is nobody's: no asker's end ends
//!   it.
//! * No failure takes addresses away that may still be given out.
//!
//! An asker is no state: he asks again, and names when he asked first. What bounds it: the number
//! of names, of addresses each, and one query for each record of a name.
//!
//! ```
//! use fulmar_core::dns::{Ask, Cache, Config, Lookup, Outcome, Record};
//! use fulmar_core::time::Instant;
//! # use chacha20::{ChaCha8Rng, rand_core::SeedableRng};
//! # let mut rng = ChaCha8Rng::seed_from_u64(1);
//! let (record, since) = (Record::Any, Instant::ORIGIN);
//! let ask = Ask { name: "api.test", record, since, until: Instant::MAX };
//! let mut cache = Cache::new(Config::default());
//!
//! let Lookup::Wait(_, Some(id)) = cache.lookup(since, &ask) else { panic!("nothing is known") };
//! let query = cache.poll_query().ok_or("a query")?;
//! assert_eq!((query.id, &*query.name), (id, "api.test"));
//!
//! let addrs = vec!["192.0.2.1".parse()?];
//! cache.handle_outcome(since, &query, Outcome::Found(addrs.clone(), None), &mut rng);
//! assert_eq!(cache.lookup(since, &ask), Lookup::Found(addrs.into()));
//! assert_eq!(cache.poll_query(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod config;
mod slot;
mod special;
mod words;

pub use cache::Cache;
pub use config::{Config, ConfigError, MAX_ADDRS};
pub use special::known_addresses;
pub use words::{Ask, Change, Lookup, Outcome, Query, QueryId, Record};
