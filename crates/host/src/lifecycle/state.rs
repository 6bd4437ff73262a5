//! The moves of a plugin's life: one pure table, walked whole by a test.

use ringfence_api::PluginState;

/// What moves a plugin from one state to another.
///
/// ```
/// use ringfence::lifecycle::{Move, next};
/// use ringfence_api::PluginState;
///
/// assert_eq!(next(PluginState::Installed, Move::Consent), Some(PluginState::Inactive));
/// assert_eq!(next(PluginState::Installed, Move::Start), None, "nobody has consented");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// Its package was put into the store.
    Install,
    /// A person said what it may do.
    Consent,
    /// It was started and has answered `initialize`.
    Start,
    /// It could not be started.
    StartFailed,
    /// It ended by itself, or had to be stopped.
    Crash,
    /// Too many of these in too short a time, or too many faults.
    Quarantine,
    /// It is not wanted any more, for now.
    Deactivate,
    /// A person lets it try again after a quarantine.
    Release,
}

impl Move {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Install,
        Self::Consent,
        Self::Start,
        Self::StartFailed,
        Self::Crash,
        Self::Quarantine,
        Self::Deactivate,
        Self::Release,
    ];
}

/// Where `by` leads from `state`; `None` where it cannot happen, or must be refused.
#[must_use]
pub const fn next(state: PluginState, by: Move) -> Option<PluginState> {
    use PluginState as S;
    match (state, by) {
        (S::Discovered, Move::Install) => Some(S::Installed),
        (S::Installed, Move::Consent) => Some(S::Inactive),
        // Consent may be given anew at any time: that changes what is granted, not whether it runs.
        (S::Inactive | S::Active | S::Errored | S::Quarantined, Move::Consent) => Some(state),
        (S::Inactive | S::Active | S::Errored, Move::Start) => Some(S::Active),
        (S::Inactive | S::Active | S::Errored, Move::StartFailed) | (S::Active | S::Errored, Move::Crash) => {
            Some(S::Errored)
        }
        (S::Inactive | S::Active | S::Errored, Move::Quarantine) => Some(S::Quarantined),
        (S::Inactive | S::Active | S::Errored, Move::Deactivate) => Some(S::Inactive),
        // What was never consented to, and what is stopped for good, is not running: nothing changes.
        (S::Installed | S::Quarantined, Move::Deactivate) => Some(state),
        (S::Quarantined, Move::Release) => Some(S::Inactive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PluginState as S;

    /// Every pair, one line a state, in the order of [`Move::ALL`].
    const TABLE: [(S, [Option<S>; 8]); 6] = {
        const I: Option<S> = Some(S::Installed);
        const N: Option<S> = Some(S::Inactive);
        const A: Option<S> = Some(S::Active);
        const E: Option<S> = Some(S::Errored);
        const Q: Option<S> = Some(S::Quarantined);
        [
            (S::Discovered, [I, None, None, None, None, None, None, None]),
            (S::Installed, [None, N, None, None, None, None, I, None]),
            (S::Inactive, [None, N, A, E, None, Q, N, None]),
            (S::Active, [None, A, A, E, E, Q, N, None]),
            (S::Errored, [None, E, A, E, E, Q, N, None]),
            (S::Quarantined, [None, Q, None, None, None, None, Q, N]),
        ]
    };

    #[test]
    fn every_pair_is_as_the_table_says() {
        assert_eq!(TABLE.map(|(state, _)| state), S::ALL);
        for (state, row) in TABLE {
            for (by, expected) in Move::ALL.into_iter().zip(row) {
                assert_eq!(next(state, by), expected, "{state} by {by:?}");
            }
        }
    }

    #[test]
    fn nothing_starts_without_consent_and_nothing_leaves_quarantine_but_by_a_person() {
        assert_eq!(next(S::Installed, Move::Start), None);
        for by in Move::ALL.into_iter().filter(|by| *by != Move::Release) {
            assert!(matches!(next(S::Quarantined, by), None | Some(S::Quarantined)), "{by:?}");
        }
    }
}
