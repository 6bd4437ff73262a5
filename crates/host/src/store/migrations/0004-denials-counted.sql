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
