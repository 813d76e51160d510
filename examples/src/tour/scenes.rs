//! What the tour asks for, in order.

use std::time::Duration;

use fulmar::Method;

/// Where the good, the bad and the missing are, as URLs without a path.
pub(crate) struct Places {
    pub(crate) server: String,
    /// The same server at another address: another origin, with a retry budget of its own.
    pub(crate) other: String,
    pub(crate) refused: String,
    pub(crate) hole: String,
    pub(crate) nobody: String,
}

impl Places {
    /// Where a session's orders go.
    pub(crate) fn ledger(&self) -> String {
        format!("{}/ledger", self.server)
    }
}

/// One call.
pub(crate) struct Scene {
    /// What it shows.
    pub(crate) title: String,
    pub(crate) method: Method,
    pub(crate) url: String,
    /// Waited before it, idle.
    pub(crate) pause: Duration,
    /// The limit of the whole call, if it has one.
    pub(crate) deadline: Option<Duration>,
    /// Whether the body is the big download's.
    pub(crate) is_checked: bool,
}

impl Scene {
    pub(crate) fn get(title: impl Into<String>, url: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            method: Method::GET,
            url: url.into(),
            pause: Duration::ZERO,
            deadline: None,
            is_checked: false,
        }
    }

    fn post(title: &str, url: String) -> Self {
        Self {
            method: Method::POST,
            ..Self::get(title, url)
        }
    }

    fn after(self, millis: u64) -> Self {
        let pause = Duration::from_millis(millis);
        Self { pause, ..self }
    }

    fn within(self, millis: u64) -> Self {
        let deadline = Some(Duration::from_millis(millis));
        Self { deadline, ..self }
    }

    fn checked(self) -> Self {
        Self {
            is_checked: true,
            ..self
        }
    }
}

/// Everything that the misbehaving server can do to a client, and worse.
pub(crate) fn all(places: &Places) -> Vec<Scene> {
    let server = |path: &str| format!("{}{path}", places.server);
    let other = |path: &str| format!("{}{path}", places.other);
    vec![
        Scene::get("A new connection", server("/hello")),
        Scene::get("The same connection again", server("/hello")),
        Scene::get("200 kB, their number known", server("/page")),
        Scene::get("Busy: 503 and Retry-After: 1, twice", server("/busy")),
        Scene::get("50 MiB in chunks", server("/big")).checked(),
        Scene::get("The server will close this one soon", server("/closing")),
        Scene::get("It is found closed, and replaced", server("/hello")).after(300),
        Scene::get("A connection dies under a request", server("/vanish")),
        Scene::post("The same under a POST: no repeat", server("/order")),
        Scene::get("No answer; the second try has one", other("/stuck-once")),
        Scene::get("No answer; retries are rationed", other("/silent")),
        Scene::get("A response that stalls half way", server("/stall")),
        Scene::get("A trickling response, a deadline", server("/trickle")).within(600),
        Scene::get("A response that ends half way", server("/short")),
        Scene::get("A server that does not speak HTTP", server("/garbage")),
        Scene::get(
            "A port where nobody listens",
            format!("{}/", places.refused),
        ),
        Scene::get("A black hole", format!("{}/", places.hole)),
        Scene::get("A host that does not exist", format!("{}/", places.nobody)),
    ]
}

/// Every URL twice, to see whether its connection is reused.
pub(crate) fn visits(urls: &[String]) -> Vec<Scene> {
    urls.iter()
        .flat_map(|url| {
            ["First visit", "Second visit"].map(|title| Scene::get(title, url.as_str()))
        })
        .collect()
}
