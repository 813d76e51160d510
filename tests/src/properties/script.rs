//! Bytes read as a script of operations.

/// Takes numbers off a slice of bytes; past its end, zeroes.
#[derive(Debug)]
pub struct Script<'a> {
    bytes: &'a [u8],
}

impl<'a> Script<'a> {
    /// A script that reads these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether it has been read to its end.
    pub fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        first
    }

    /// A number below `n`, which is at least 1.
    pub fn below(&mut self, n: usize) -> usize {
        let byte = usize::from(self.byte());
        let number = if n > 256 {
            byte << 8 | usize::from(self.byte())
        } else {
            byte
        };
        number % n
    }
}
