//! Whose turn it is in a batch: no origin takes more than its share of the places.

use std::collections::{BTreeMap, VecDeque};

use crate::request::RequestBuilder;

/// Requests taken from their iterator ahead of their turn, at most.
const AHEAD: usize = 1_024;

/// Requests that wait for a place of their origin, and who holds places.
#[derive(Default)]
pub(crate) struct Lanes {
    /// Places an origin may hold; `None`: all there are.
    max: Option<usize>,
    waiting: VecDeque<(usize, RequestBuilder)>,
    held: BTreeMap<String, usize>,
    /// Whose request is in flight, by its index.
    origins: BTreeMap<usize, String>,
}

impl Lanes {
    pub(crate) fn limit(&mut self, max: usize) {
        self.max = Some(max.max(1));
    }

    /// Whether another may be taken from the iterator, in the hope that its origin has a place.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < AHEAD
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The request back, if it can start now; else it waits.
    pub(crate) fn admit(
        &mut self,
        index: usize,
        request: RequestBuilder,
    ) -> Option<RequestBuilder> {
        if self.take(index, &request) {
            return Some(request);
        }
        self.set_aside(index, request);
        None
    }

    /// Has the request wait for its turn.
    pub(crate) fn set_aside(&mut self, index: usize, request: RequestBuilder) {
        self.waiting.push_back((index, request));
    }

    /// The first that waits and can start now.
    pub(crate) fn next(&mut self) -> Option<(usize, RequestBuilder)> {
        let free = |(_, request): &(usize, RequestBuilder)| self.has_place(request);
        let place = self.waiting.iter().position(free)?;
        let (index, request) = self.waiting.remove(place)?;
        self.take(index, &request);
        Some((index, request))
    }

    /// The request with that index is through.
    pub(crate) fn release(&mut self, index: usize) {
        let Some(origin) = self.origins.remove(&index) else {
            return;
        };
        if let Some(held) = self.held.get_mut(&origin) {
            *held -= 1;
            if *held == 0 {
                self.held.remove(&origin);
            }
        }
    }

    fn has_place(&self, request: &RequestBuilder) -> bool {
        match (self.max, request.origin()) {
            (Some(max), Some(origin)) => self.held.get(origin).is_none_or(|held| *held < max),
            _ => true,
        }
    }

    fn take(&mut self, index: usize, request: &RequestBuilder) -> bool {
        let is_free = self.has_place(request);
        if let (true, Some(_), Some(origin)) = (is_free, self.max, request.origin()) {
            *self.held.entry(origin.to_owned()).or_default() += 1;
            self.origins.insert(index, origin.to_owned());
        }
        is_free
    }
}
