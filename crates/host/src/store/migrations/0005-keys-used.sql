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
