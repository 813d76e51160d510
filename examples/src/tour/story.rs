//! The program under study: an application that holds a client. Nothing in it knows which network it
//! runs on.

use std::sync::{Arc, Mutex, PoisonError};

use fulmar::trace::Record;
use fulmar::{Client, Error, Response, StatusCode};

use super::scenes::Scene;
use crate::clock::Clock;
use crate::server::{BIG, Check};

/// Somebody's application: it has a client, and does things with it.
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
}

/// What a client said of itself, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Record>>>);

impl Log {
    /// The observer that writes it.
    pub(crate) fn observer(&self) -> impl Fn(&Record) + Send + Sync + 'static {
        let Self(records) = self.clone();
        move |record| {
            let mut records = records.lock().unwrap_or_else(PoisonError::into_inner);
            records.push(record.clone());
        }
    }

    fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A whole response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) bytes: u64,
    /// Whether the body is as it was sent, where that can be told.
    pub(crate) is_good: bool,
}

/// One call, and all that is known of it.
pub(crate) struct Told {
    pub(crate) title: String,
    pub(crate) request: String,
    pub(crate) records: Vec<Record>,
    pub(crate) end: Result<Fetched, Error>,
}

/// Makes every call in turn, and tells each one when it is over.
pub(crate) async fn story(app: &App, scenes: &[Scene], tell: &mut dyn FnMut(&Told)) -> Vec<Told> {
    let mut all = Vec::with_capacity(scenes.len());
    for scene in scenes {
        app.clock.sleep(scene.pause).await;
        let end = app.fetch(scene).await;
        let told = Told {
            title: scene.title.clone(),
            request: format!("{} {}", scene.method, scene.url),
            records: app.log.take(),
            end,
        };
        tell(&told);
        all.push(told);
    }
    all
}

impl App {
    async fn fetch(&self, scene: &Scene) -> Result<Fetched, Error> {
        let request = self.client.request(scene.method.clone(), &*scene.url);
        let request = match scene.deadline {
            Some(deadline) => request.timeout(deadline),
            None => request,
        };
        read(request.send().await?, scene.is_checked).await
    }
}

/// Reads a body to its end and keeps nothing of it.
async fn read(mut response: Response, is_checked: bool) -> Result<Fetched, Error> {
    let status = response.status();
    let mut check = Check::of(BIG);
    let mut bytes = 0;
    while let Some(chunk) = response.chunk().await? {
        bytes += chunk.len() as u64;
        if is_checked {
            check.feed(&chunk);
        }
    }
    let is_good = !is_checked || check.is_whole();
    Ok(Fetched {
        status,
        bytes,
        is_good,
    })
}
