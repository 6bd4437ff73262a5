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
