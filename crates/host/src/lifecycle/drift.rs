//! What a running plugin was started with, beside what is stored now: may it run on, and what must it hear of?
//!
//! Pure. Who looks, and when, is `watch`; who acts on it is the plugin's owner.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use ringfence_api::{ErrorCode, Permission, PluginName, PluginState};

use super::target;
use crate::Error;
use crate::pin::Pin;
use crate::store::{Mark, Owner, Standing};

/// What of the store a plugin was started with.
#[derive(Debug)]
pub(crate) struct Started {
    owner: Owner,
    digest: String,
    grants: Vec<Permission>,
    /// What these opened, as far as that was known.
    pins: BTreeMap<String, Pin>,
    installed_at_ms: i64,
    known: Mutex<Known>,
}

/// What is known of it since then.
#[derive(Clone, Copy, Debug)]
struct Known {
    /// What was compared last and found to be no other.
    mark: Option<Mark>,
    /// The configuration that the plugin was told.
    config_revision: i64,
    /// Whether it was ever recorded as active: until then, `inactive` is what a start for an activation finds.
    was_active: bool,
}

/// Why a running plugin may not run on as it is: what is stored has overtaken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Overtaken {
    /// These grants were taken back.
    Revoked(Vec<Permission>),
    /// It was uninstalled, and perhaps installed again.
    Removed,
    /// It is quarantined, with this reason.
    Quarantined(Option<String>),
    /// What is stored of it was not written by Ringfence.
    Untrusted,
    /// It shall not run.
    Deactivated,
    /// It is another version, which may do all that this one may.
    Replaced,
}

/// What is different.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drift {
    /// It may not run on.
    pub(crate) overtaken: Option<Overtaken>,
    /// It is granted more, or other places, which it has only when it is started anew.
    pub(crate) gained: bool,
    /// This revision of its configuration is not the one that it was told.
    pub(crate) configured: Option<i64>,
}

impl Drift {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Started {
    pub(crate) fn new(
        row: &crate::store::PluginRow,
        grants: Vec<Permission>,
        pins: BTreeMap<String, Pin>,
        config_revision: i64,
    ) -> Self {
        let was_active = matches!(row.state, PluginState::Active | PluginState::Errored);
        Self {
            owner: row.owner(),
            digest: row.package.digest.clone(),
            grants,
            pins,
            installed_at_ms: row.installed_at_ms,
            known: Mutex::new(Known { mark: None, config_revision, was_active }),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn known(&self) -> Known {
        *self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when nothing is different; `None`: something is, or nobody has looked.
    pub(crate) fn mark(&self) -> Option<Mark> {
        self.known().mark
    }

    /// It was told this configuration.
    pub(crate) fn was_told(&self, config_revision: i64) {
        self.change(|known| known.config_revision = config_revision);
    }

    /// It was recorded as active.
    pub(crate) fn is_active(&self) {
        self.change(|known| known.was_active = true);
    }

    /// Compares with what is stored; what is no other is not compared again before it is changed.
    pub(crate) fn drift(&self, stored: &Standing) -> Drift {
        let known = self.known();
        let drift = self.compare(known, stored);
        self.change(|known| {
            known.mark = drift.is_none().then_some(stored.mark);
            known.was_active |= stored.state == PluginState::Active;
        });
        drift
    }

    fn compare(&self, known: Known, stored: &Standing) -> Drift {
        let lost: Vec<Permission> =
            self.grants.iter().filter(|grant| !stored.grants.contains(grant)).cloned().collect();
        let overtaken = match stored.state {
            _ if stored.mark.installed_at_ms != self.installed_at_ms => Some(Overtaken::Removed),
            PluginState::Discovered | PluginState::Installed => Some(Overtaken::Removed),
            PluginState::Quarantined => Some(Overtaken::Quarantined(stored.state_reason.clone())),
            _ if !lost.is_empty() => Some(Overtaken::Revoked(lost)),
            // The grants are the publisher's own: another one's are others, whatever they say.
            _ if stored.owner != self.owner && !self.grants.is_empty() => {
                Some(Overtaken::Revoked(self.grants.clone()))
            }
            PluginState::Inactive if known.was_active => Some(Overtaken::Deactivated),
            _ if stored.digest != self.digest => Some(Overtaken::Replaced),
            PluginState::Inactive | PluginState::Active | PluginState::Errored => None,
        };
        let config_revision = stored.mark.config_revision;
        let more = stored.grants.iter().any(|grant| !self.grants.contains(grant));
        // Somebody has consented anew, to what lies there now.
        let elsewhere =
            self.pins.iter().any(|(grant, pin)| stored.pins.get(grant).is_some_and(|now| now != pin));
        Drift {
            gained: overtaken.is_none() && (more || elsewhere),
            configured: (overtaken.is_none() && config_revision != known.config_revision)
                .then_some(config_revision),
            overtaken,
        }
    }
}

impl Overtaken {
    /// Whether it is killed where it stands; else it is stopped in order.
    pub(crate) fn is_at_once(&self) -> bool {
        !matches!(self, Self::Deactivated | Self::Replaced)
    }

    /// Whether it is started again, as it may now.
    pub(crate) fn starts_again(&self) -> bool {
        matches!(self, Self::Revoked(_) | Self::Replaced)
    }

    /// What happened, as the end of a sentence about the plugin.
    pub(crate) fn what(&self) -> String {
        match self {
            Self::Revoked(lost) => {
                let lost: Vec<String> = lost.iter().map(ToString::to_string).collect();
                format!("its grant {} was taken back", lost.join(", "))
            }
            Self::Removed => "it was uninstalled".to_owned(),
            Self::Quarantined(_) => "it was quarantined".to_owned(),
            Self::Untrusted => "what is stored about it was not written by Ringfence".to_owned(),
            Self::Deactivated => "it was deactivated".to_owned(),
            Self::Replaced => "another version was put in its place".to_owned(),
        }
    }

    /// The error of a call that it interrupted.
    pub(crate) fn error(&self, name: &PluginName) -> Error {
        let message = format!("{name} was ended during the call: {}", self.what());
        match self {
            Self::Revoked(lost) => {
                let grants: Vec<String> = lost
                    .iter()
                    .map(|grant| format!("'{}'", grant.to_string().replace('\'', "'\\''")))
                    .collect();
                Error::new(ErrorCode::PermissionDenied, message).with_hint(format!(
                    "whoever administers this home can grant it again: ringfence grant {name} {}",
                    grants.join(" ")
                ))
            }
            Self::Removed => {
                Error::new(ErrorCode::NotFound, message).with_hint("`ringfence list` shows what is installed")
            }
            Self::Quarantined(reason) => target::quarantined(name, reason.as_deref()),
            Self::Untrusted => Error::new(ErrorCode::PermissionDenied, message)
                .with_hint("find out who can write to the home; then restore a backup, or install it again"),
            Self::Deactivated => Error::new(ErrorCode::NotActive, message).with_hint(format!(
                "whoever administers this home can activate it: ringfence activate {name}"
            )),
            Self::Replaced => Error::new(ErrorCode::Busy, message)
                .with_hint("call it again: the next call goes to the version that is installed now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use PluginState as S;

    fn permission(text: &str) -> Permission {
        text.parse().unwrap()
    }

    fn standing(state: PluginState, grants: &[&str]) -> Standing {
        Standing {
            owner: Owner::new("notes".parse().unwrap(), "ada"),
            digest: "d1".to_owned(),
            state,
            state_reason: None,
            grants: grants.iter().map(|text| permission(text)).collect(),
            pins: BTreeMap::new(),
            mark: Mark { installed_at_ms: 1, revision: 7, config_revision: 3 },
        }
    }

    fn started(was_active: bool) -> Started {
        Started {
            owner: Owner::new("notes".parse().unwrap(), "ada"),
            digest: "d1".to_owned(),
            grants: vec![permission("env:read=LANG"), permission("file:read=/srv/a")],
            pins: BTreeMap::new(),
            installed_at_ms: 1,
            known: Mutex::new(Known { mark: None, config_revision: 3, was_active }),
        }
    }

    const BOTH: [&str; 2] = ["env:read=LANG", "file:read=/srv/a"];

    #[test]
    fn what_is_the_same_is_remembered_and_what_is_not_is_looked_at_again() {
        let started = started(true);
        for state in [S::Active, S::Errored] {
            assert!(started.drift(&standing(state, &BOTH)).is_none());
        }
        assert_eq!(started.mark().unwrap().revision, 7);
        assert!(!started.drift(&standing(S::Active, &BOTH[..1])).is_none());
        assert_eq!(started.mark(), None);
    }

    #[test]
    fn less_ends_it_and_more_waits() {
        let started = started(true);
        let lost = started.drift(&standing(S::Active, &[BOTH[1], "env:read=HOME"]));
        assert_eq!(lost.overtaken, Some(Overtaken::Revoked(vec![permission(BOTH[0])])));
        assert!(!lost.gained, "it is started again with all of it");
        let more = started.drift(&standing(S::Active, &[BOTH[0], BOTH[1], "env:read=HOME"]));
        assert_eq!(more, Drift { gained: true, ..Drift::default() });
    }

    #[test]
    fn a_consent_to_another_place_is_taken_up_and_one_to_the_same_is_nothing_new() {
        let pin = |path: &str| Pin { path: path.to_owned(), seen: None, plantable: false };
        let at = |path: &str| BTreeMap::from([(BOTH[1].to_owned(), pin(path))]);
        let started = Started { pins: at("/srv/a"), ..started(true) };
        let stored = |pins| Standing { pins, ..standing(S::Active, &BOTH) };
        assert!(started.drift(&stored(at("/srv/a"))).is_none());
        assert!(started.drift(&stored(BTreeMap::new())).is_none());
        assert_eq!(started.drift(&stored(at("/srv/b"))), Drift { gained: true, ..Drift::default() });
    }

    #[test]
    fn every_state_that_does_not_run_ends_it() {
        let ends = |started: Started, state| started.drift(&standing(state, &BOTH)).overtaken;
        assert_eq!(ends(started(true), S::Inactive), Some(Overtaken::Deactivated));
        assert_eq!(ends(started(false), S::Inactive), None, "its activation is under way");
        assert_eq!(ends(started(true), S::Quarantined), Some(Overtaken::Quarantined(None)));
        assert_eq!(ends(started(true), S::Installed), Some(Overtaken::Removed));
        // Once it was seen to be active, it can be deactivated.
        let started = started(false);
        assert!(started.drift(&standing(S::Active, &BOTH)).is_none());
        assert_eq!(ends(started, S::Inactive), Some(Overtaken::Deactivated));
    }

    #[test]
    fn another_installation_publisher_version_and_configuration_are_seen() {
        let mut stored = standing(S::Active, &BOTH);
        stored.mark.installed_at_ms = 2;
        assert_eq!(started(true).drift(&stored).overtaken, Some(Overtaken::Removed));
        let mut stored = standing(S::Active, &BOTH);
        stored.digest = "d2".to_owned();
        assert_eq!(started(true).drift(&stored).overtaken, Some(Overtaken::Replaced));
        stored.owner = Owner::new("notes".parse().unwrap(), "eve");
        assert!(started(true).drift(&stored).overtaken.unwrap().is_at_once());
        let mut stored = standing(S::Active, &BOTH);
        stored.mark.config_revision = 4;
        let started = started(true);
        assert_eq!(started.drift(&stored).configured, Some(4));
        started.was_told(4);
        assert!(started.drift(&stored).is_none());
    }

    #[test]
    fn an_interrupted_call_says_what_happened_and_who_can_undo_it() {
        let name: PluginName = "notes".parse().unwrap();
        let error = Overtaken::Revoked(vec![permission(BOTH[1])]).error(&name);
        assert_eq!(error.code(), ErrorCode::PermissionDenied);
        assert_eq!(
            error.message(),
            "notes was ended during the call: its grant file:read=/srv/a was taken back"
        );
        assert!(error.hint().unwrap().ends_with("ringfence grant notes 'file:read=/srv/a'"), "{error:?}");
        for (overtaken, code) in [
            (Overtaken::Removed, ErrorCode::NotFound),
            (Overtaken::Quarantined(Some("why".to_owned())), ErrorCode::Quarantined),
            (Overtaken::Untrusted, ErrorCode::PermissionDenied),
            (Overtaken::Deactivated, ErrorCode::NotActive),
            (Overtaken::Replaced, ErrorCode::Busy),
        ] {
            assert_eq!(overtaken.error(&name).code(), code);
        }
    }
}
