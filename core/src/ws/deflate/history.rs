//! Whether compressing has been worth it lately.

/// Messages that are sent as they are, before another is tried.
const SKIP: u8 = 64;

/// The outcomes of the last eight messages of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// A bit for each, set where it came out larger than nine tenths.
    poor: u8,
    skipped: u8,
}

impl History {
    /// Whether to try: not when the last eight were poor, but one in 64 even then.
    pub(super) fn is_worth_it(&mut self) -> bool {
        if self.poor != u8::MAX {
            return true;
        }
        self.skipped += 1;
        if self.skipped < SKIP {
            return false;
        }
        self.skipped = 0;
        true
    }

    pub(super) fn record(&mut self, plain: usize, compressed: usize) {
        let poor = compressed as u64 * 10 > plain as u64 * 9;
        self.poor = self.poor << 1 | u8::from(poor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_eight_poor_outcomes_only_one_message_in_64_is_tried() {
        let mut history = History::default();
        for _ in 0..8 {
            assert!(history.is_worth_it());
            history.record(1000, 901);
        }
        let tried = (0..64).filter(|_| history.is_worth_it()).count();
        assert_eq!(tried, 1);
        history.record(1000, 900);
        assert!(history.is_worth_it());
    }
}
