-- The records of a topic as one table, with the whole of `data` as JSON text: JSON_VALUE(`data`, '$.userId').
CREATE TABLE events (
    `source` STRING,
    `id` STRING,
    `type` STRING,
    `subject` STRING,
    `time` TIMESTAMP_LTZ(3),
    `receivedtime` TIMESTAMP_LTZ(3),
    `data` STRING,
    `read_at` AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = 'dingtalk.bpms_instance_change',
    'properties.bootstrap.servers' = 'localhost:9092',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json',
    'json.timestamp-format.standard' = 'ISO-8601',
    -- one broken record must not stop the rest
    'json.ignore-parse-errors' = 'true'
);

-- A record may come twice: each (source, id) once. State is kept for table.exec.state.ttl: set it to the
-- topic's retention or more.
CREATE VIEW events_once AS
SELECT * FROM (
    SELECT *, ROW_NUMBER() OVER (PARTITION BY `source`, `id` ORDER BY `read_at`) AS `copy` FROM events
    WHERE `id` IS NOT NULL
) WHERE `copy` = 1;
