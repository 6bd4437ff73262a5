-- Who may speak to the daemon. What opens is in the hands of its bearer; here is the digest of its secret.
CREATE TABLE tokens (
    id TEXT NOT NULL PRIMARY KEY,
    role TEXT NOT NULL,
    -- The one plugin that it is for; NULL: all.
    plugin TEXT REFERENCES plugins (name) ON DELETE CASCADE,
    name TEXT NOT NULL,
    digest BLOB NOT NULL,
    created_by TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER,
    -- Written once a minute at most, and not sealed.
    last_used_at_ms INTEGER,
    seal BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX tokens_by_plugin ON tokens (plugin);

-- Where the audit trail begins after its oldest records were removed: number and digest of the last one that is gone,
-- with a code made with the key.
CREATE TABLE audit_cut (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    seq INTEGER NOT NULL,
    hash BLOB NOT NULL,
    removed INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    cut_by TEXT NOT NULL,
    mac BLOB NOT NULL
) STRICT;

DROP TRIGGER audit_is_not_shortened;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
WHEN OLD.seq > coalesce((SELECT seq FROM audit_cut), 0)
BEGIN
    SELECT RAISE(ABORT, 'audit records are never removed, but by a prune');
END;
