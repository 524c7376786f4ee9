-- The records of a topic as one table, with the whole of `data` as JSON text: JSONExtractString(data, 'userId').
-- A record may come twice: of each (source, id) one stays, in the end. SELECT … FINAL counts it once now.
CREATE TABLE events (
    `source` String,
    `id` String,
    `type` String,
    `subject` String,
    `time` Nullable(DateTime64(3, 'UTC')),
    `receivedtime` Nullable(DateTime64(3, 'UTC')),
    `data` String
) ENGINE = ReplacingMergeTree
ORDER BY (`source`, `id`);

CREATE TABLE events_queue (`record` String) ENGINE = Kafka
SETTINGS
    kafka_broker_list = 'localhost:9092',
    kafka_topic_list = 'dingtalk.bpms_instance_change',
    kafka_group_name = 'clickhouse-events',
    kafka_format = 'JSONAsString',
    kafka_handle_error_mode = 'stream';

-- What is no event is left out.
CREATE MATERIALIZED VIEW events_reader TO events AS
SELECT
    JSONExtractString(`record`, 'source') AS `source`,
    JSONExtractString(`record`, 'id') AS `id`,
    JSONExtractString(`record`, 'type') AS `type`,
    JSONExtractString(`record`, 'subject') AS `subject`,
    parseDateTime64BestEffortOrNull(JSONExtractString(`record`, 'time'), 3, 'UTC') AS `time`,
    parseDateTime64BestEffortOrNull(JSONExtractString(`record`, 'receivedtime'), 3, 'UTC') AS `receivedtime`,
    JSONExtractRaw(`record`, 'data') AS `data`
FROM events_queue
WHERE empty(_error) AND JSONHas(`record`, 'source') AND JSONHas(`record`, 'id');
