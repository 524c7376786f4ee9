"""The tables of the index."""

VERSION = 3
"""Raise it with every change of them, or of what is kept of a record."""

APPLICATION_ID = 0x44424958  # "DBIX"

SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE offsets (
  topic TEXT, partition INTEGER,
  first INTEGER NOT NULL,  -- from here on each event is in the index
  next INTEGER NOT NULL,   -- up to here, not included
  PRIMARY KEY (topic, partition)
) WITHOUT ROWID;
CREATE TABLE events (
  n INTEGER PRIMARY KEY,
  source TEXT, id TEXT, type TEXT, corp_id TEXT, subject TEXT,
  time_ms INTEGER, received_ms INTEGER, published_ms INTEGER, via TEXT, app TEXT,
  topic TEXT, partition INTEGER, "offset" INTEGER, key TEXT
);
CREATE UNIQUE INDEX events_place ON events (topic, partition, "offset");
CREATE INDEX events_type ON events (type, received_ms);
CREATE INDEX events_corp ON events (corp_id, received_ms);
CREATE INDEX events_received ON events (received_ms);
CREATE INDEX events_time ON events (time_ms);
CREATE INDEX events_published ON events (published_ms);
CREATE TABLE ids (
  value TEXT, received_ms INTEGER, n INTEGER,  -- of an event
  PRIMARY KEY (value, received_ms, n)
) WITHOUT ROWID;
CREATE INDEX ids_event ON ids (n);
CREATE TABLE types (
  type TEXT, corp_id TEXT, events INTEGER NOT NULL, last_ms INTEGER NOT NULL,
  PRIMARY KEY (type, corp_id)
) WITHOUT ROWID;
CREATE TABLE letters (
  topic TEXT, partition INTEGER, "offset" INTEGER, consumer TEXT,
  first_topic TEXT, first_partition INTEGER, first_offset INTEGER,
  error TEXT, attempts INTEGER, at_ms INTEGER, replay_id TEXT,
  PRIMARY KEY (topic, partition, "offset")
) WITHOUT ROWID;
CREATE INDEX letters_first ON letters (first_topic, first_partition, first_offset);
CREATE TABLE settled (
  topic TEXT, partition INTEGER, "offset" INTEGER, run TEXT, consumer TEXT, at_ms INTEGER,
  PRIMARY KEY (topic, partition, "offset", run)
) WITHOUT ROWID;
CREATE TABLE copies (
  topic TEXT, partition INTEGER, "offset" INTEGER, consumer TEXT, replay_id TEXT,
  from_topic TEXT, from_partition INTEGER, from_offset INTEGER, at_ms INTEGER,
  PRIMARY KEY (topic, partition, "offset")
) WITHOUT ROWID;
CREATE INDEX copies_from ON copies (from_topic, from_partition, from_offset);
CREATE TABLE freshness (  -- not of the topics: what consumers' listeners reported
  at_ms INTEGER, consumer TEXT, p99_s REAL,
  PRIMARY KEY (at_ms, consumer)
) WITHOUT ROWID;
"""
