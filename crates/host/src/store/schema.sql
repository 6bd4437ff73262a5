-- The whole schema of the newest version: what all migrations together must give. A test compares them.
-- Small facts about this database itself: the check of the key, the floor of the audit sequence.
CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What lies in the directory `store`, one row for each digest that a plugin still names.
CREATE TABLE packages (
    digest TEXT NOT NULL PRIMARY KEY,
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    version TEXT NOT NULL,
    manifest TEXT NOT NULL,
    source TEXT NOT NULL,
    stored_at_ms INTEGER NOT NULL,
    -- Key-authenticated digest of what the kernel says of each file: see package/verify.rs.
    fingerprint BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE plugins (
    name TEXT NOT NULL PRIMARY KEY,
    publisher TEXT NOT NULL,
    digest TEXT NOT NULL REFERENCES packages (digest),
    state TEXT NOT NULL,
    state_reason TEXT,
    installed_at_ms INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    previous_digest TEXT REFERENCES packages (digest),
    -- The grants that belonged to the previous version, as JSON: what a rollback restores.
    previous_grants TEXT,
    pending_digest TEXT REFERENCES packages (digest),
    seal BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE grants (
    plugin TEXT NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    publisher TEXT NOT NULL,
    permission TEXT NOT NULL,
    granted_by TEXT NOT NULL,
    granted_at_ms INTEGER NOT NULL,
    PRIMARY KEY (plugin, publisher, permission)
) STRICT, WITHOUT ROWID;

-- What lay at the place of a grant over files when a person consented to it, as JSON. A grant without a row is one of the
-- time before places were kept: it gets one when its plugin is started next.
CREATE TABLE grant_places (
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    permission TEXT NOT NULL,
    pin TEXT NOT NULL,
    PRIMARY KEY (plugin, publisher, permission),
    FOREIGN KEY (plugin, publisher, permission) REFERENCES grants (plugin, publisher, permission) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE consents (
    plugin TEXT NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    publisher TEXT NOT NULL,
    digest TEXT NOT NULL,
    asked TEXT NOT NULL,
    granted TEXT NOT NULL,
    consented_by TEXT NOT NULL,
    consented_at_ms INTEGER NOT NULL,
    PRIMARY KEY (plugin, publisher, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE config (
    plugin TEXT NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    publisher TEXT NOT NULL,
    value TEXT NOT NULL,
    revision INTEGER NOT NULL,
    updated_at_ms INTEGER NOT NULL,
    PRIMARY KEY (plugin, publisher)
) STRICT, WITHOUT ROWID;

-- Plugins that were uninstalled with their data kept. The rows of `data` and the directory below `kept` wait for the
-- same name by the same publisher.
CREATE TABLE kept_data (
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    kept_at_ms INTEGER NOT NULL,
    PRIMARY KEY (plugin, publisher)
) STRICT, WITHOUT ROWID;

CREATE TABLE data (
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    key BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (plugin, publisher, key)
) STRICT;

CREATE TABLE data_usage (
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    keys INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (plugin, publisher)
) STRICT, WITHOUT ROWID;

CREATE TABLE crashes (
    id INTEGER PRIMARY KEY,
    plugin TEXT NOT NULL REFERENCES plugins (name) ON DELETE CASCADE,
    at_ms INTEGER NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX crashes_by_plugin ON crashes (plugin, id);

CREATE TABLE denials (
    plugin TEXT NOT NULL,
    layer TEXT NOT NULL,
    operation TEXT NOT NULL,
    object TEXT NOT NULL,
    grant_text TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_at_ms INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL,
    PRIMARY KEY (plugin, layer, operation, object, grant_text)
) STRICT, WITHOUT ROWID;
CREATE INDEX denials_by_time ON denials (plugin, last_at_ms);

CREATE TABLE activity (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin TEXT NOT NULL,
    method TEXT NOT NULL,
    tool TEXT NOT NULL,
    outcome TEXT NOT NULL,
    count INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    correlation_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX activity_by_plugin ON activity (plugin, id);

CREATE TABLE resources (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    plugin TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    cpu_ms INTEGER NOT NULL,
    cpu_percent REAL NOT NULL,
    memory_bytes INTEGER NOT NULL,
    tasks INTEGER NOT NULL,
    read_bytes INTEGER NOT NULL,
    written_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX resources_by_plugin ON resources (plugin, id);

CREATE TABLE breakers (
    name TEXT NOT NULL PRIMARY KEY,
    plugin TEXT NOT NULL,
    state TEXT NOT NULL,
    updated_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    event TEXT NOT NULL,
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    correlation_id TEXT NOT NULL,
    body TEXT NOT NULL,
    hash BLOB NOT NULL,
    mac BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_plugin ON audit (plugin, seq);
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'audit records are never changed');
END;
CREATE TRIGGER audit_is_not_shortened BEFORE DELETE ON audit
WHEN OLD.seq > coalesce((SELECT seq FROM audit_cut), 0)
BEGIN
    SELECT RAISE(ABORT, 'audit records are never removed, but by a prune');
END;

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

-- Calls above the rate at which each has a record: counted here within the second, so that a power cut loses none,
-- and moved into one audit record when the second is over.
CREATE TABLE audit_open (
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    method TEXT NOT NULL,
    second INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (plugin, publisher, method, second)
) STRICT, WITHOUT ROWID;

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

-- Refusals of a window that have no record of their own. They become records when the window is over.
CREATE TABLE denials_open (
    plugin TEXT NOT NULL,
    publisher TEXT NOT NULL,
    -- Since 1970, in lengths of a window.
    window INTEGER NOT NULL,
    layer TEXT NOT NULL,
    operation TEXT NOT NULL,
    object TEXT NOT NULL,
    grant_text TEXT NOT NULL,
    count INTEGER NOT NULL,
    first_at_ms INTEGER NOT NULL,
    last_at_ms INTEGER NOT NULL,
    PRIMARY KEY (plugin, publisher, window, layer, operation, object, grant_text)
) STRICT, WITHOUT ROWID;

-- Keys that callers gave to requests which must not be carried out twice. What was asked and answered is not here.
CREATE TABLE keys_used (
    -- Digests of the caller and of the key.
    caller BLOB NOT NULL,
    key BLOB NOT NULL,
    -- Of the request.
    request BLOB NOT NULL,
    -- 0: it was begun; 1: it has ended.
    ended INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (caller, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_used_by_time ON keys_used (at_ms);
CREATE INDEX keys_used_by_caller ON keys_used (caller, at_ms);
