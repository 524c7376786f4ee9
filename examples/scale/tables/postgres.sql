-- The records of topics as one table, with the whole of data as JSON: data->>'userId'.
CREATE TABLE events (
    source text NOT NULL,
    id text NOT NULL,
    type text NOT NULL,
    subject text,
    time timestamptz NOT NULL,
    receivedtime timestamptz NOT NULL,
    data jsonb,
    PRIMARY KEY (source, id)
);

-- Whatever reads the topic calls this with each record's value. A record may come twice: the first one stays.
CREATE FUNCTION keep_event(record jsonb) RETURNS void LANGUAGE sql AS $$
    INSERT INTO events (source, id, type, subject, time, receivedtime, data)
    VALUES (
        record->>'source', record->>'id', record->>'type', record->>'subject',
        (record->>'time')::timestamptz, (record->>'receivedtime')::timestamptz, record->'data'
    )
    ON CONFLICT (source, id) DO NOTHING
$$;
