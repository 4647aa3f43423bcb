-- +goose Up

-- What happened. A row is written once, in the transaction of the change that it tells of, and never
-- updated: retention and redaction delete rows, and the envelope (below) is what then remains.
-- The id is a UUIDv7 of the event's own time, so the key is the order of time.
create table "AuditLog" (
    id         text   not null primary key,
    at         bigint not null,
    request_id text,
    actor_id   text,
    action     text   not null,
    entity     text,
    entity_id  text,
    outcome    text   not null,
    writer     text   not null,
    counter    bigint not null,
    salt       blob   not null,
    body       text   not null
);
create index audit_log_request on "AuditLog" (request_id, id) where request_id is not null;
create index audit_log_actor on "AuditLog" (actor_id, id) where actor_id is not null;
create index audit_log_entity on "AuditLog" (entity_id, id) where entity_id is not null;
create index audit_log_action on "AuditLog" (action, id);

-- What is to be sealed: each event's envelope, with the HMAC that covers it until it is.
create table audit_pending (
    writer   text   not null,
    counter  bigint not null,
    event_id text   not null,
    envelope blob   not null,
    mac      blob   not null,
    primary key (writer, counter)
);

-- Each secret that was ever in use: a random id (kid), and a keyed fingerprint by which a secret is
-- known again. The fingerprint's key is itself kept encrypted and outlives every rotation.
create table secret_version (
    id          text   not null primary key,
    name        text   not null,
    fingerprint text   not null,
    first_seen  bigint not null,
    unique (name, fingerprint)
);
create table secret_fingerprint_key (
    id      bigint not null primary key,
    wrapped blob   not null
);

-- The first answer to each Idempotency-Key, for 24 hours. The hash is salted: a body may be a text.
create table idempotency (
    caller     text   not null,
    route      text   not null,
    key        text   not null,
    salt       blob   not null,
    body_hash  blob   not null,
    status     bigint not null,
    answer     blob   not null,
    created_at bigint not null,
    primary key (caller, route, key)
);
create index idempotency_age on idempotency (created_at);

-- +goose Down
drop table idempotency;
drop table secret_fingerprint_key;
drop table secret_version;
drop table audit_pending;
drop table "AuditLog";
