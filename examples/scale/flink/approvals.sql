-- Approvals that have ended, for each template and hour, each counted once: a topic that holds the latest count.
-- README.md says how this is run.

-- in this process, which stays; with a cluster: 'remote', and 'false'
SET 'execution.target' = 'local';
SET 'table.dml-sync' = 'true';
-- a result is written with the next checkpoint at the latest
SET 'execution.checkpointing.interval' = '5 s';
-- how long (source, id) is remembered: longer than the topic keeps a record (14 days, deleted by segment)
SET 'table.exec.state.ttl' = '22 d';

-- what is needed of a record: names and types as in schemas/json/bpms_instance_change.json
CREATE TABLE approvals (
    `source` STRING,
    `id` STRING,
    `data` ROW<`type` STRING, `result` STRING, `processCode` STRING, `finishTime` BIGINT>,
    `read_at` AS PROCTIME()
) WITH (
    'connector' = 'kafka',
    'topic' = 'dingtalk.bpms_instance_change',
    'properties.bootstrap.servers' = 'localhost:9092',
    'scan.startup.mode' = 'earliest-offset',
    'format' = 'json',
    -- one broken record must not stop the rest
    'json.ignore-parse-errors' = 'true'
);

CREATE TABLE approvals_by_hour (
    `template` STRING,
    `hour` TIMESTAMP_LTZ(3),
    `ended` BIGINT,
    `agreed` BIGINT,
    PRIMARY KEY (`template`, `hour`) NOT ENFORCED
) WITH (
    'connector' = 'upsert-kafka',
    'topic' = 'approvals-by-hour',
    'properties.bootstrap.servers' = 'localhost:9092',
    'key.format' = 'json',
    'key.json.timestamp-format.standard' = 'ISO-8601',
    'value.format' = 'json',
    'value.json.timestamp-format.standard' = 'ISO-8601'
);

INSERT INTO approvals_by_hour
SELECT
    `data`.`processCode`,
    FLOOR(TO_TIMESTAMP_LTZ(`data`.`finishTime`, 3) TO HOUR),
    COUNT(*),
    COUNT(*) FILTER (WHERE `data`.`result` = 'agree')
FROM (
    -- a record may come again: the first of each (source, id) counts
    SELECT *, ROW_NUMBER() OVER (PARTITION BY `source`, `id` ORDER BY `read_at`) AS `copy` FROM approvals
    WHERE `id` IS NOT NULL
)
WHERE `copy` = 1 AND `data`.`type` = 'finish'
    AND `data`.`processCode` IS NOT NULL AND `data`.`finishTime` IS NOT NULL
GROUP BY `data`.`processCode`, FLOOR(TO_TIMESTAMP_LTZ(`data`.`finishTime`, 3) TO HOUR);
