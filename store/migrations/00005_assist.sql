-- +goose Up

-- What is kept of each call of AI, however it ended: what was asked of which model, and what it cost,
-- without a word of the texts. The hashes are SHA-256 over the salt and the texts; the salt goes when
-- the texts go. revision is the one that was read; used tells whether anything came of the answer.
create table ai_trace (
    id             text    not null primary key,
    document_id    text    not null references document (id),
    user_id        text    not null,
    revision       bigint  not null,
    purpose        text    not null,
    prompt_version text    not null,
    model          text    not null,
    outcome        text    not null,
    used           boolean not null,
    finish_reason  text    not null,
    input_tokens   bigint  not null,
    output_tokens  bigint  not null,
    latency_micros bigint  not null,
    dropped        bigint  not null,
    retried        bigint  not null,
    salt           blob,
    sent_hash      blob    not null,
    received_hash  blob    not null,
    created_at     bigint  not null
);
create index ai_trace_document on ai_trace (document_id, created_at);

-- What AI suggested, as far as it was verified. Suggestions of one call belong together, in the order
-- of their ids.
create table suggestion (
    id             text   not null primary key,
    document_id    text   not null references document (id),
    trace_id       text   not null references ai_trace (id),
    kind           text   not null,
    quote          text   not null,
    replacement    text   not null,
    reason         text   not null,
    source         text,
    status         text   not null,
    created_at     bigint not null,
    decided_at     bigint,
    dismiss_reason text
);
create index suggestion_trace on suggestion (trace_id, id);
create index suggestion_open on suggestion (document_id) where status = 'OPEN';

-- +goose Down
drop table suggestion;
drop table ai_trace;
