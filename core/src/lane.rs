//! Who goes first of those that wait.

/// Which of those that wait go first. Shares are 8 to 4 to 1 while something waits in all three
/// lanes, so the lowest moves, too; within a lane the order is that of coming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Before the others: somebody looks at the screen.
    High,
    /// The default.
    #[default]
    Normal,
    /// What may wait: prefetches, backups.
    Bulk,
}

impl Lane {
    /// How many there are.
    pub(crate) const COUNT: usize = 3;
    /// All of them, the highest first.
    pub(crate) const ALL: [Self; Self::COUNT] = [Self::High, Self::Normal, Self::Bulk];
    /// Of each lane, the highest first.
    pub(crate) const SHARES: [u8; Self::COUNT] = [8, 4, 1];
}

/// Whose turn it is: round robin by weights. A round has as many turns of each lane as its share
/// says, the highest lane's first, and ends when no lane in which somebody waits has a turn left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Turns([u8; Lane::COUNT]);

impl Turns {
    pub(crate) const fn new() -> Self {
        Self(Lane::SHARES)
    }

    /// The lane whose turn it is, of those in which somebody waits.
    pub(crate) fn next(self, waits: [bool; Lane::COUNT]) -> Option<Lane> {
        let waiting = || Lane::ALL.into_iter().filter(|lane| waits[*lane as usize]);
        let left = waiting().find(|lane| self.0[*lane as usize] > 0);
        left.or_else(|| waiting().next())
    }

    /// Somebody of that lane had his turn.
    pub(crate) fn take(&mut self, lane: Lane) {
        if self.0[lane as usize] == 0 {
            self.0 = Lane::SHARES;
        }
        self.0[lane as usize] -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(waits: [bool; 3], turns: usize) -> [usize; 3] {
        let mut state = Turns::new();
        let mut had = [0; 3];
        for _ in 0..turns {
            let lane = state.next(waits).unwrap();
            state.take(lane);
            had[lane as usize] += 1;
        }
        had
    }

    #[test]
    fn lanes_share_by_eight_to_four_to_one() {
        assert_eq!(run([true; 3], 130), [80, 40, 10]);
        assert_eq!(run([true, false, true], 90), [80, 0, 10]);
        assert_eq!(run([false, true, true], 50), [0, 40, 10]);
        assert_eq!(run([false, false, true], 7), [0, 0, 7]);
        assert_eq!(Turns::new().next([false; 3]), None);
    }

    #[test]
    fn a_round_begins_with_the_highest() {
        let mut turns = Turns::new();
        for expected in [
            [Lane::High; 8].as_slice(),
            &[Lane::Normal; 4],
            &[Lane::Bulk],
        ]
        .concat()
        {
            let lane = turns.next([true; 3]).unwrap();
            assert_eq!(lane, expected);
            turns.take(lane);
        }
        assert_eq!(turns.next([true; 3]), Some(Lane::High));
    }
}
