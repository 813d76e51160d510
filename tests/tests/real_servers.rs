//! Servers that others wrote: nginx, and Python's `http.server`.
//!
//! They are started here, on a free port and in a directory of their own. One that is not installed
//! fails its tests and says so.
#![allow(clippy::unwrap_used, reason = "what a test cannot go on without")]

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fulmar_tokio::{Client, Error, Fate, Limits, StatusCode, Tokio};
use tokio::runtime::{Builder, Runtime};

const LARGE: usize = 20 << 20;

/// A running server, killed when dropped.
struct Server {
    child: Child,
    base: String,
    root: PathBuf,
}

impl Server {
    /// Starts a command that serves `port` from `root`, and waits until it does.
    fn start(name: &str, command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let port = free_port();
        let root =
            std::env::temp_dir().join(format!("fulmar-{name}-{}-{port}", std::process::id()));
        let files = root.join("files");
        fs::create_dir_all(&files).unwrap();
        fs::write(files.join("small.txt"), "small").unwrap();
        fs::write(files.join("brief.txt"), "brief").unwrap();
        fs::write(files.join("empty.txt"), "").unwrap();
        fs::write(files.join("large.bin"), large()).unwrap();
        let mut command = command(&root, port);
        let spawned = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = spawned.unwrap_or_else(|error| {
            panic!(
                "{name} has to be installed for this test: {}: {error}",
                command.get_program().display()
            )
        });
        let mut server = Self {
            child,
            base: format!("http://127.0.0.1:{port}"),
            root,
        };
        server.wait_until_it_listens(name, port);
        server
    }

    fn wait_until_it_listens(&mut self, name: &str, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{name} ended at once: {status}");
            }
            assert!(
                begun.elapsed() < Duration::from_secs(20),
                "{name} does not listen"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn nginx() -> Self {
        Self::start("nginx", |root, port| {
            let config = root.join("nginx.conf");
            fs::write(&config, nginx_config(root, port)).unwrap();
            let mut command = Command::new("/usr/sbin/nginx");
            command
                .arg("-p")
                .arg(root)
                .arg("-e")
                .arg(root.join("error.log"))
                .arg("-c")
                .arg(config);
            command
        })
    }

    fn python() -> Self {
        Self::start("python3", |root, port| {
            let mut command = Command::new("python3");
            command.args([
                "-m",
                "http.server",
                "--bind",
                "127.0.0.1",
                "--protocol",
                "HTTP/1.1",
            ]);
            command
                .arg("--directory")
                .arg(root.join("files"))
                .arg(port.to_string());
            command
        })
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn large() -> Vec<u8> {
    (0..LARGE).map(|n| (n / 7 % 251) as u8).collect()
}

fn nginx_config(root: &Path, port: u16) -> String {
    let root = root.display();
    format!(
        "daemon off;
        master_process off;
        pid {root}/nginx.pid;
        error_log {root}/error.log;
        events {{}}
        http {{
            access_log off;
            client_body_temp_path {root}/body;
            proxy_temp_path {root}/proxy;
            fastcgi_temp_path {root}/fastcgi;
            uwsgi_temp_path {root}/uwsgi;
            scgi_temp_path {root}/scgi;
            client_max_body_size 1k;
            server {{
                listen 127.0.0.1:{port};
                root {root}/files;
                location /brief.txt {{ keepalive_timeout 200ms; }}
                location /busy {{ return 503; }}
                location /away {{ return 302 /small.txt; }}
                location /nothing {{ return 204; }}
                location /cut {{ return 444; }}
                location /upload {{ client_max_body_size 1k; return 200 stored; }}
            }}
        }}"
    )
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

async fn text(client: &Client, url: &str) -> Result<String, Error> {
    client.get(url).send().await?.text().await
}

/// What every server of files does alike.
async fn serves_files(client: &Client, server: &Server) {
    assert_eq!(
        text(client, &server.url("/small.txt")).await.unwrap(),
        "small"
    );
    assert_eq!(text(client, &server.url("/empty.txt")).await.unwrap(), "");
    for _ in 0..5 {
        let response = client.get(server.url("/small.txt")).send().await.unwrap();
        assert!(response.is_reused());
        assert_eq!(response.headers()["content-length"], "5");
        // Read to its end: a connection that is still being drained serves nobody yet.
        assert_eq!(response.bytes().await.unwrap(), "small");
    }
    let head = client.head(server.url("/large.bin")).send().await.unwrap();
    assert_eq!(
        head.header("content-length"),
        Some(LARGE.to_string().as_bytes())
    );
    assert_eq!(head.bytes().await.unwrap().len(), 0);
    let missing = client.get(server.url("/missing")).send().await.unwrap();
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert!(
        missing
            .error_for_status()
            .unwrap_err()
            .to_string()
            .contains("404")
    );

    let mut response = client.get(server.url("/large.bin")).send().await.unwrap();
    assert_eq!(response.content_length(), Some(LARGE as u64));
    let (mut at, expected) = (0, large());
    while let Some(chunk) = response.chunk().await.unwrap() {
        assert!(
            chunk == expected[at..at + chunk.len()],
            "other bytes behind {at}"
        );
        at += chunk.len();
    }
    assert_eq!(at, LARGE);

    // Half of a large body, dropped; the client goes on.
    let mut response = client.get(server.url("/large.bin")).send().await.unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    assert_eq!(
        text(client, &server.url("/small.txt")).await.unwrap(),
        "small"
    );
    let gauges = client.gauges();
    assert_eq!((gauges.busy, gauges.waiting), (0, 0), "{gauges:?}");
}

#[test]
fn nginx_serves_files_over_reused_connections() {
    let server = Server::nginx();
    let client = Client::new(Tokio::new());
    runtime().block_on(serves_files(&client, &server));
}

#[test]
fn python_serves_files_over_reused_connections() {
    let server = Server::python();
    let client = Client::new(Tokio::new());
    runtime().block_on(serves_files(&client, &server));
}

#[test]
fn nginx_answers_of_every_kind_are_understood() {
    let server = Server::nginx();
    let client = Client::new(Tokio::new());
    runtime().block_on(async {
        let none = client.get(server.url("/nothing")).send().await.unwrap();
        assert_eq!(
            (none.status(), none.text().await.unwrap().len()),
            (StatusCode::NO_CONTENT, 0)
        );
        let away = client.get(server.url("/away")).send().await.unwrap();
        assert_eq!(away.status(), StatusCode::FOUND);
        assert!(
            away.header("location")
                .is_some_and(|to| to.ends_with(b"/small.txt"))
        );
        let busy = client
            .get(server.url("/busy"))
            .retry(fulmar_tokio::Retry::new(1));
        let busy = busy.send().await.unwrap();
        assert_eq!(busy.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(busy.retry_exhausted());
        // A body beyond the server's limit: it answers early and closes.
        let refused = client
            .put(server.url("/upload"))
            .body(vec![0; 8 << 20])
            .send()
            .await
            .unwrap();
        assert_eq!(refused.status(), StatusCode::PAYLOAD_TOO_LARGE);
        drop(refused);
        // Closed without a word: nobody knows what became of it.
        let cut = client
            .post(server.url("/cut"))
            .body("x")
            .send()
            .await
            .unwrap_err();
        assert_eq!(cut.fate(), Fate::MaybeProcessed, "{cut}");
        assert_eq!(
            text(&client, &server.url("/small.txt")).await.unwrap(),
            "small"
        );
    });
}

#[test]
fn a_keep_alive_that_nginx_ends_fails_no_request() {
    let server = Server::nginx();
    let client = Client::new(Tokio::new());
    runtime().block_on(async {
        // Around the server's limit, where its FIN and our request cross.
        for step in 0..12 {
            assert_eq!(
                text(&client, &server.url("/brief.txt")).await.unwrap(),
                "brief"
            );
            tokio::time::sleep(Duration::from_millis(194 + step)).await;
        }
    });
}

#[test]
fn nginx_serves_a_burst_within_the_limits() {
    let server = Server::nginx();
    let limits = Limits::new().per_origin(8);
    let client = Client::builder(Tokio::new())
        .limits(limits)
        .build()
        .unwrap();
    runtime().block_on(async {
        let calls: Vec<_> = (0..500)
            .map(|_| {
                let (client, url) = (client.clone(), server.url("/small.txt"));
                tokio::spawn(async move { text(&client, &url).await })
            })
            .collect();
        for call in calls {
            assert_eq!(call.await.unwrap().unwrap(), "small");
        }
        assert!(client.gauges().total <= 8);
    });
}

#[test]
fn a_server_that_died_is_an_error_that_says_so() {
    let server = Server::python();
    let client = Client::builder(Tokio::new())
        .retry(fulmar_tokio::Retry::new(1))
        .build()
        .unwrap();
    let url = server.url("/small.txt");
    runtime().block_on(async {
        assert_eq!(text(&client, &url).await.unwrap(), "small");
        drop(server);
        // The runtime learns of the end of the connection when it next looks.
        while client.gauges().idle > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let error = text(&client, &url).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        let said = error.to_string();
        assert!(
            said.contains("refused") && said.contains("not processed"),
            "{said}"
        );
    });
}
