//! How much a server may send before it is called abusive.

/// The limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub(super) message: usize,
    pub(super) frame: usize,
    pub(super) fragments: u32,
    pub(super) empty_fragments: u32,
    pub(super) pings_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message: 4 << 20,
            frame: 4 << 20,
            fragments: 8192,
            empty_fragments: 100,
            pings_per_second: 100,
        }
    }
}

impl Limits {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of a message, after decompression. Default 4 MiB.
    #[must_use]
    pub fn message(mut self, bytes: usize) -> Self {
        self.message = bytes;
        self
    }

    /// Bytes of a frame's payload, at most those of a message. Default 4 MiB.
    #[must_use]
    pub fn frame(mut self, bytes: usize) -> Self {
        self.frame = bytes;
        self
    }

    /// Fragments of a message. Default 8192.
    #[must_use]
    pub fn fragments(mut self, count: u32) -> Self {
        self.fragments = count;
        self
    }

    /// Empty fragments in a row. Default 100.
    #[must_use]
    pub fn empty_fragments(mut self, count: u32) -> Self {
        self.empty_fragments = count;
        self
    }

    /// Pings in a second that are tolerated; more of them for ten seconds in a row are a flood.
    /// Default 100.
    #[must_use]
    pub fn pings_per_second(mut self, count: u32) -> Self {
        self.pings_per_second = count;
        self
    }

    /// Bytes that a message may have at most.
    pub fn max_message(&self) -> usize {
        self.message
    }
}
