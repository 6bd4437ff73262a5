//! Which keys were used for requests that must not be carried out twice. Kept are digests and how far it came, so that whoever
//! asks again after this process was killed is not served twice; never what was asked or answered.
//!
//! Rows are not sealed: who writes one by hand keeps a request from being carried out, and gets nothing.

use rusqlite::{OptionalExtension as _, Transaction};

use super::fault::Fault;
use super::writer::Keep;
use super::{Store, now_ms};
use crate::Error;
use crate::once::{ONCE_KEEP, ONCE_KEYS_MAX, OnceKey, OnceUse};
use ringfence_api::ErrorCode;

impl Store {
    /// Notes that a request with this key begins, unless it was noted before, and that others have ended. Kept from the end of
    /// this process before it returns; not from a power cut.
    ///
    /// # Errors
    /// `conflict` when the key was used for another request; `busy` when all keys that may be kept are of requests under way;
    /// `busy` or `io`. Then nothing was noted.
    pub(crate) fn begin_once(&self, key: OnceKey, ended: Vec<OnceKey>) -> Result<OnceUse, Error> {
        self.write_as("note the key of a request", Keep::FromKill, move |transaction, _| {
            ended.iter().try_for_each(|key| end(transaction, key))?;
            begin(transaction, &key, now_ms())
        })
    }

    /// Notes that the request has ended, kept as above.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn end_once(&self, key: OnceKey) -> Result<(), Error> {
        self.write_as("note the end of a request", Keep::FromKill, move |transaction, _| {
            Ok(end(transaction, &key)?)
        })
    }

    /// Forgets the key of a request for which nothing was done.
    ///
    /// # Errors
    /// `busy` or `io`.
    pub(crate) fn forget_once(&self, key: OnceKey) -> Result<(), Error> {
        self.write_as("forget the key of a request", Keep::FromKill, move |transaction, _| {
            transaction
                .prepare_cached("DELETE FROM keys_used WHERE caller = ?1 AND key = ?2")?
                .execute((&key.caller, &key.key))?;
            Ok(())
        })
    }
}

fn end(transaction: &Transaction<'_>, key: &OnceKey) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("UPDATE keys_used SET ended = 1 WHERE caller = ?1 AND key = ?2")?
        .execute((&key.caller, &key.key))
        .map(drop)
}

fn begin(transaction: &Transaction<'_>, key: &OnceKey, now_ms: i64) -> Result<OnceUse, Fault> {
    let oldest = now_ms.saturating_sub(i64::try_from(ONCE_KEEP.as_millis()).unwrap_or(i64::MAX));
    transaction.prepare_cached("DELETE FROM keys_used WHERE at_ms < ?1")?.execute([oldest])?;
    let known = transaction
        .prepare_cached("SELECT request, ended FROM keys_used WHERE caller = ?1 AND key = ?2")?
        .query_row((&key.caller, &key.key), |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, bool>(1)?)))
        .optional()?;
    if let Some((request, ended)) = known {
        if request != key.request {
            let message = "this idempotency key was used for another request";
            return Err(Error::new(ErrorCode::Conflict, message).into());
        }
        return Ok(if ended { OnceUse::Ended } else { OnceUse::Begun });
    }
    make_room(transaction, key)?;
    transaction
        .prepare_cached(
            "INSERT INTO keys_used (caller, key, request, ended, at_ms) VALUES (?1, ?2, ?3, 0, ?4)",
        )?
        .execute((&key.caller, &key.key, &key.request, now_ms))?;
    Ok(OnceUse::First)
}

/// Forgets the oldest key of a request that has ended when there are as many as may be: the caller's own, or, where it has none,
/// anybody's.
fn make_room(transaction: &Transaction<'_>, key: &OnceKey) -> Result<(), Fault> {
    let count: usize =
        transaction.prepare_cached("SELECT count(*) FROM keys_used")?.query_row([], |row| row.get(0))?;
    if count < ONCE_KEYS_MAX {
        return Ok(());
    }
    let mut removed = transaction
        .prepare_cached(
            "DELETE FROM keys_used WHERE caller = ?1 AND key = \
             (SELECT key FROM keys_used WHERE caller = ?1 AND ended = 1 ORDER BY at_ms LIMIT 1)",
        )?
        .execute([&key.caller])?;
    if removed == 0 {
        removed = transaction
            .prepare_cached(
                "DELETE FROM keys_used WHERE (caller, key) IN \
                 (SELECT caller, key FROM keys_used WHERE ended = 1 ORDER BY at_ms LIMIT 1)",
            )?
            .execute([])?;
    }
    if removed == 0 {
        return Err(Error::new(ErrorCode::Busy, "too many requests with keys are under way").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::tests::home;
    use super::*;

    fn key(caller: &str, key: &str, request: u8) -> OnceKey {
        OnceKey::new(caller, key, [request; 32])
    }

    #[test]
    fn a_key_is_known_after_the_store_was_opened_again_and_forgotten_when_nothing_was_done() {
        let (_dir, home) = home();
        let store = Store::open(&home).unwrap();
        for name in ["begun", "ended", "refused"] {
            assert_eq!(store.begin_once(key("ada", name, 1), Vec::new()).unwrap(), OnceUse::First, "{name}");
        }
        store.end_once(key("ada", "ended", 1)).unwrap();
        store.forget_once(key("ada", "refused", 1)).unwrap();
        assert_eq!(store.begin_once(key("ada", "called", 1), Vec::new()).unwrap(), OnceUse::First);
        let with = vec![key("ada", "called", 1)];
        assert_eq!(store.begin_once(key("ada", "next", 1), with).unwrap(), OnceUse::First);
        drop(store);
        let store = Store::open(&home).unwrap();
        assert_eq!(store.begin_once(key("ada", "begun", 1), Vec::new()).unwrap(), OnceUse::Begun);
        for name in ["ended", "called"] {
            assert_eq!(store.begin_once(key("ada", name, 1), Vec::new()).unwrap(), OnceUse::Ended, "{name}");
        }
        assert_eq!(store.begin_once(key("ada", "refused", 1), Vec::new()).unwrap(), OnceUse::First);
        assert_eq!(
            store.begin_once(key("ada", "ended", 2), Vec::new()).unwrap_err().code(),
            ErrorCode::Conflict
        );
        assert_eq!(
            store.begin_once(key("ben", "ended", 2), Vec::new()).unwrap(),
            OnceUse::First,
            "another's key"
        );
    }

    #[test]
    fn keys_go_after_a_day_and_the_callers_own_oldest_first_when_there_are_too_many() {
        let (_dir, home) = home();
        let store = Store::open(&home).unwrap();
        let at =
            |key: OnceKey, ms: i64| store.write("test", move |transaction, _| begin(transaction, &key, ms));
        let day = i64::try_from(ONCE_KEEP.as_millis()).unwrap();
        assert_eq!(at(key("ben", "k", 1), 0).unwrap(), OnceUse::First);
        assert_eq!(at(key("ben", "k", 1), day).unwrap(), OnceUse::Begun);
        assert_eq!(at(key("ben", "k", 1), day + 1).unwrap(), OnceUse::First, "a day has gone by");
        // As many as may be, all of them under way but those of Ada.
        store
            .write("test", move |transaction, _| {
                let many = i64::try_from(ONCE_KEYS_MAX).unwrap() - 3;
                let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
                    INSERT INTO keys_used SELECT x'00', i, x'00', 0, ?2 FROM n"
                    .replace("SELECT x'00', i,", "SELECT x'00', CAST(i AS BLOB),");
                transaction.execute(&fill, (many, day))?;
                Ok(())
            })
            .unwrap();
        for (name, ms) in [("older", day + 2), ("newer", day + 3)] {
            assert_eq!(at(key("ada", name, 1), ms).unwrap(), OnceUse::First);
            store.end_once(key("ada", name, 1)).unwrap();
        }
        assert_eq!(at(key("ada", "one more", 1), day + 4).unwrap(), OnceUse::First);
        assert_eq!(at(key("ada", "newer", 1), day + 4).unwrap(), OnceUse::Ended);
        assert_eq!(
            at(key("ben", "two more", 1), day + 4).unwrap(),
            OnceUse::First,
            "in the place of Ada's last"
        );
        assert_eq!(at(key("ben", "three", 1), day + 4).unwrap_err().code(), ErrorCode::Busy);
    }

    #[test]
    fn only_what_wishes_no_more_than_to_outlive_a_kill_waits_for_no_disk() {
        let (_dir, home) = home();
        let store = Store::open(&home).unwrap();
        // What a commit waits for: 1 for nothing, 2 for the disk.
        let level = |transaction: &Transaction<'_>| {
            Ok(transaction.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0))?)
        };
        for (keep, waits) in
            [(Keep::FromPowerCut, 2), (Keep::FromKill, 1), (Keep::FromKill, 1), (Keep::FromPowerCut, 2)]
        {
            assert_eq!(
                store.write_as("test", keep, move |transaction, _| level(transaction)).unwrap(),
                waits
            );
        }
        store.begin_once(key("ada", "k", 1), Vec::new()).unwrap();
        assert_eq!(store.write("test", move |transaction, _| level(transaction)).unwrap(), 2, "as all else");
    }
}
