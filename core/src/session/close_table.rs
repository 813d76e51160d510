//! What a close code means for the next connection.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::ws::CloseCode;

/// How long the session waits before it connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pace {
    /// As the configuration says.
    Usual,
    /// Evenly between the two; the delays of attempts that fail then are as usual.
    First(Duration, Duration),
    /// With longer delays: 5 s, doubling up to 60 s.
    Throttled,
    /// At once to another address if there is one, else throttled.
    Elsewhere,
}

/// What to do after a connection closed with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseAction {
    /// The session has ended as it should.
    Stop,
    /// The session has failed.
    Fatal,
    /// As `Fatal`, unless the connection was stable before: then something on the way corrupted it.
    FatalUnlessStable,
    /// Connect again.
    Reconnect(Pace),
    /// Connect again with new credentials, once; then `Fatal`.
    RefreshAuth,
    /// Drop the message that was too big and connect again, once; then `Fatal`.
    TooBig,
}

/// The action for each close code: rules over ranges, of which the last that fits counts.
///
/// It is data, because sub-protocols give codes their own meaning: see [`rule`](Self::rule).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseTable {
    rules: Vec<(RangeInclusive<u16>, CloseAction)>,
}

impl Default for CloseTable {
    /// | code | action |
    /// |---|---|
    /// | 1000 | stop |
    /// | 1002, 1003, 1007, 1010 | fatal; 1002 and 1007 unless stable before |
    /// | 1008 | fatal |
    /// | 1009 | too big |
    /// | 1012 | reconnect, at first after 5 to 30 s |
    /// | 1013 | reconnect elsewhere, or throttled |
    /// | 3000 | refresh credentials |
    /// | 3003 | fatal |
    /// | others | reconnect |
    fn default() -> Self {
        use CloseAction::{Fatal, FatalUnlessStable, Reconnect, RefreshAuth, Stop, TooBig};
        let restart = Pace::First(Duration::from_secs(5), Duration::from_secs(30));
        Self { rules: Vec::new() }
            .rule(1000..=1000, Stop)
            .rule(1002..=1002, FatalUnlessStable)
            .rule(1003..=1003, Fatal)
            .rule(1007..=1007, FatalUnlessStable)
            .rule(1008..=1008, Fatal)
            .rule(1009..=1009, TooBig)
            .rule(1010..=1010, Fatal)
            .rule(1012..=1012, Reconnect(restart))
            .rule(1013..=1013, Reconnect(Pace::Elsewhere))
            .rule(3000..=3000, RefreshAuth)
            .rule(3003..=3003, Fatal)
    }
}

impl CloseTable {
    /// Adds a rule that counts over those before it.
    #[must_use]
    pub fn rule(mut self, codes: RangeInclusive<u16>, action: CloseAction) -> Self {
        self.rules.push((codes, action));
        self
    }

    /// The rules of the `graphql-transport-ws` sub-protocol beside the defaults.
    pub fn graphql_ws() -> Self {
        let fatal = [4004, 4005, 4400, 4401, 4406, 4409, 4429, 4500];
        fatal.into_iter().fold(Self::default(), |table, code| {
            table.rule(code..=code, CloseAction::Fatal)
        })
    }

    /// The rules of Centrifugo beside the defaults.
    pub fn centrifugo() -> Self {
        let again = CloseAction::Reconnect(Pace::Usual);
        Self::default()
            .rule(3000..=3499, again)
            .rule(3500..=3999, CloseAction::Fatal)
            .rule(4000..=4499, again)
            .rule(4500..=4999, CloseAction::Fatal)
    }

    /// The action for a code.
    pub fn action(&self, code: CloseCode) -> CloseAction {
        let mut rules = self.rules.iter().rev();
        rules
            .find(|(codes, _)| codes.contains(&code.0))
            .map_or(CloseAction::Reconnect(Pace::Usual), |(_, action)| *action)
    }
}

#[cfg(test)]
mod tests {
    use super::CloseAction::{Fatal, FatalUnlessStable, Reconnect, RefreshAuth, Stop, TooBig};
    use super::*;

    #[test]
    fn codes_of_the_policy() {
        let table = CloseTable::default();
        let restart = Pace::First(Duration::from_secs(5), Duration::from_secs(30));
        for (codes, action) in [
            (&[1000][..], Stop),
            (&[1002, 1007], FatalUnlessStable),
            (&[1003, 1010, 1008, 3003], Fatal),
            (&[1009], TooBig),
            (
                &[1001, 1005, 1006, 1011, 1014, 1015, 3008],
                Reconnect(Pace::Usual),
            ),
            (&[3001, 3999, 4000, 4401, 4999], Reconnect(Pace::Usual)),
            (&[1012], Reconnect(restart)),
            (&[1013], Reconnect(Pace::Elsewhere)),
            (&[3000], RefreshAuth),
        ] {
            for code in codes {
                assert_eq!(table.action(CloseCode(*code)), action, "{code}");
            }
        }
    }

    #[test]
    fn sub_protocols_have_their_own_rules() {
        let graphql = CloseTable::graphql_ws();
        for code in [4004, 4005, 4400, 4401, 4406, 4409, 4429, 4500] {
            assert_eq!(graphql.action(CloseCode(code)), Fatal, "{code}");
        }
        assert_eq!(graphql.action(CloseCode(4408)), Reconnect(Pace::Usual));
        let centrifugo = CloseTable::centrifugo();
        for (code, action) in [
            (3000, Reconnect(Pace::Usual)),
            (3500, Fatal),
            (4000, Reconnect(Pace::Usual)),
            (4500, Fatal),
        ] {
            assert_eq!(centrifugo.action(CloseCode(code)), action, "{code}");
        }
    }

    #[test]
    fn a_rule_of_the_user_counts_over_the_defaults() {
        let table = CloseTable::default().rule(1000..=1000, Reconnect(Pace::Usual));
        assert_eq!(table.action(CloseCode::NORMAL), Reconnect(Pace::Usual));
    }
}
