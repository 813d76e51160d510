//! The client: a pool of connections and the settings of the calls that use them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use fulmar_core::pool::{ByRoute, Gauges, Limits};
use fulmar_core::time::Instant;
use http::Method;

use crate::builder::ClientBuilder;
use crate::error::Error;
use crate::explain::Explanation;
use crate::net::Net;
use crate::request::RequestBuilder;
use crate::shared::Shared;
use crate::url::IntoUrl;

/// So many routes are told one by one (POLICIES 8.2).
const LABELS: usize = 100;

/// An HTTP client. Cloning it bumps a count: make one and share it.
///
/// It has no type parameter: an application's own struct that holds one runs unchanged on every
/// runtime and in the simulator. It can be built where no runtime is (in a `static`), and used from
/// one runtime after another. When the last handle and the last response go, every idle connection
/// closes and the background task ends.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

macro_rules! methods {
    ($($name:ident $method:ident),*) => {$(
        #[doc = concat!("Begins a `", stringify!($method), "` request.")]
        #[inline]
        pub fn $name(&self, url: impl IntoUrl) -> RequestBuilder {
            self.request(Method::$method, url)
        }
    )*};
}

impl Client {
    /// Begins to configure a client for `net`: a runtime, or a host of a simulation.
    pub fn builder(net: impl Net) -> ClientBuilder {
        ClientBuilder::new(Arc::new(net))
    }

    /// A client with all defaults.
    pub fn new(net: impl Net) -> Self {
        Self::builder(net).build_valid()
    }

    methods!(get GET, head HEAD, post POST, put PUT, patch PATCH, delete DELETE, options OPTIONS);

    /// Begins a request with any method.
    ///
    /// `CONNECT` asks the server at `url`, a proxy, for a tunnel: to the `host:port` that the request's
    /// `Host` header names, else to `url` itself. See [`Response::upgrade`](crate::Response::upgrade).
    #[inline]
    pub fn request(&self, method: Method, url: impl IntoUrl) -> RequestBuilder {
        RequestBuilder::new(self.clone(), method, url)
    }

    /// Begins to open a WebSocket, at a URL with `ws`, `wss`, `http` or `https`: by the names,
    /// connections, limits and default headers of this client. See [`websocket`](crate::websocket) for
    /// one connection, and [`session`](crate::session) for what outlives it.
    #[cfg(feature = "websocket")]
    pub fn websocket(&self, url: impl IntoUrl) -> crate::websocket::WebSocketBuilder {
        let url = url.into_websocket_url();
        crate::websocket::WebSocketBuilder::new(RequestBuilder::at(self.clone(), Method::GET, url))
    }

    /// The instant `after` from now: one budget to share between calls, by
    /// [`RequestBuilder::deadline`].
    pub fn deadline(&self, after: Duration) -> Instant {
        self.shared.net.now() + after
    }

    /// What a request would meet if it were sent now, and what is in force for it. A dry run: nothing
    /// is sent, resolved, dialled or counted, and no state changes. The client that made the request is
    /// the one that is asked.
    ///
    /// ```
    /// # fn example(client: fulmar::Client) -> Result<(), fulmar::Error> {
    /// println!("{}", client.explain(&client.get("http://api.test/"))?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The request is invalid.
    pub fn explain(&self, request: &RequestBuilder) -> Result<Explanation, Error> {
        request.explain()
    }

    /// How many connections there are, and in which state, and how many requests wait for one.
    pub fn gauges(&self) -> Gauges {
        self.shared.locked(|state| state.pool.gauges())
    }

    /// The same of one route: the one that a GET of `url` with no options of its own would take. Its
    /// connections are those to the URL's origin, under the first
    /// [profile](ClientBuilder::profile) that is for the host. Zeroes, where there are none.
    ///
    /// # Errors
    ///
    /// The URL is invalid.
    pub fn route_gauges(&self, url: impl IntoUrl) -> Result<Gauges, Error> {
        self.get(url).route_gauges()
    }

    /// The same of each route: one by one of the 100 that have the most connections and waiters, and
    /// together of the others. That many labels a metric can bear, however many hosts are asked.
    ///
    /// It goes over all routes, with the pool locked: for once in a while, not for each call.
    pub fn gauges_by_route(&self) -> ByRoute {
        self.shared.locked(|state| state.pool.by_route(LABELS))
    }

    /// Reads the same numbers without keeping the client: `None` once it is gone.
    pub fn route_gauge_reader(&self) -> impl Fn() -> Option<ByRoute> + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            let shared = shared.upgrade()?;
            Some(shared.locked(|state| state.pool.by_route(LABELS)))
        }
    }

    /// Reads what [`gauges`](Self::gauges) says without keeping the client: `None` once it is gone.
    pub fn gauge_reader(&self) -> impl Fn() -> Option<Gauges> + Send + Sync + use<> {
        let shared = Arc::downgrade(&self.shared);
        move || {
            let shared = shared.upgrade()?;
            Some(shared.locked(|state| state.pool.gauges()))
        }
    }

    /// The pool's limits in force: all of them are set.
    pub fn limits(&self) -> Limits {
        self.shared.settings.pool.effective_limits()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("gauges", &self.gauges())
            .finish_non_exhaustive()
    }
}
