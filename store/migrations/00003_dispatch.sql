-- +goose Up

-- A server process, from its start to its end. A row that is not seen for 15 seconds is dead, and
-- what it was sending is sent by others.
create table node (
    incarnation text   not null primary key,
    server      text   not null, -- the same after a restart
    started_at  bigint not null,
    seen_at     bigint not null
);

-- Where to dispatch. A deleted endpoint stays as a tombstone without its secrets, for the record.
create table dispatch_endpoint (
    id               text    not null primary key,
    name             text    not null,
    url              text    not null, -- of a tombstone: scheme and host
    concurrency      bigint, -- null: DISPATCH_ENDPOINT_CONCURRENCY
    timeout_seconds  bigint, -- null: DISPATCH_TIMEOUT_SECONDS
    max_attempts     bigint, -- null: DISPATCH_MAX_ATTEMPTS
    paused           boolean not null,
    paused_reason    text,
    secrets          blob,   -- encrypted: the signing secret, and the one before it
    old_secret_until bigint, -- during a rotation's overlap: until when the one before it signs, too
    version          bigint  not null,
    created_at       bigint  not null,
    updated_at       bigint  not null,
    deleted_at       bigint
);

-- One payload to one endpoint: small and hot. due_at is null where a job is not claimable, so what
-- is finished costs nothing.
create table dispatch_job (
    id                 text   not null primary key,
    endpoint_id        text   not null,
    status             text   not null,
    attempt_count      bigint not null,
    attempt_budget     bigint not null, -- the count at which the present budget is used up
    max_attempts       bigint not null, -- how many a fresh budget has
    due_at             bigint,
    lease_token        text,
    lease_node         text,
    lease_until        bigint,
    expire_at          bigint,
    payload_size       bigint not null,
    dispatched_at      bigint,
    dead_lettered_at   bigint,
    dead_letter_reason text,
    last_error         text,
    created_at         bigint not null,
    updated_at         bigint not null
);
create index dispatch_job_due on dispatch_job (endpoint_id, due_at, id) where due_at is not null;
create index dispatch_job_leased on dispatch_job (endpoint_id, lease_until) where lease_until is not null;
create index dispatch_job_status on dispatch_job (status, id) where lease_until is null;

-- What a job carries, and what never changes about it: written once. Lists by endpoint, owner and
-- document start here, so that the hot table does without their indexes.
create table dispatch_payload (
    job_id       text   not null primary key,
    endpoint_id  text   not null,
    owner_id     text,
    document_id  text,
    content_type text   not null,
    salt         blob,
    hash         blob   not null, -- SHA-256(salt ‖ payload)
    body         blob             -- encrypted
);
create index dispatch_payload_endpoint on dispatch_payload (endpoint_id, job_id);
create index dispatch_payload_owner on dispatch_payload (owner_id, job_id) where owner_id is not null;
create index dispatch_payload_document on dispatch_payload (document_id, job_id) where document_id is not null;

-- Each try to deliver a job. Rows are only added.
create table dispatch_attempt (
    job_id      text   not null,
    number      bigint not null,
    outcome     text   not null, -- DELIVERED, FAILED, INTERRUPTED, LATE
    started_at  bigint not null,
    ended_at    bigint not null,
    status_code bigint,
    error       text,
    answer      blob,            -- encrypted: the first 4 KiB of what the receiver said
    node        text   not null,
    primary key (job_id, number, outcome)
);

-- +goose Down
drop table dispatch_attempt;
drop table dispatch_payload;
drop table dispatch_job;
drop table dispatch_endpoint;
drop table node;
