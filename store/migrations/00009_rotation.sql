-- +goose Up

-- Which version of each secret is in use, since when, and which was before it. settled_at is the data
-- key's: since then everything at rest is encrypted with this version and nothing needs the one before.
create table secret_in_use (
    name        text   not null primary key,
    version_id  text   not null,
    previous_id text,
    since       bigint not null,
    settled_at  bigint
);

-- The keys that a server has, by its heartbeat: for each name the ids, the one that it signs with first.
alter table node add column keys text;

-- When an endpoint's signing secret last changed.
alter table dispatch_endpoint add column secret_changed_at bigint;
update dispatch_endpoint set secret_changed_at = created_at;

-- A rotation as somebody recorded it (runbook §3.4). Rows are only added.
create table secret_rotation (
    id            text   not null primary key,
    rotated_at    bigint not null,
    recorded_at   bigint not null,
    operator_id   text   not null,
    operator      text   not null,
    ticket_id     text   not null,
    secrets       text   not null, -- JSON
    environments  text   not null, -- JSON
    rollback_plan text   not null,
    notes         text
);
create index secret_rotation_latest on secret_rotation (rotated_at, id);
create table secret_rotation_of (
    secret      text   not null,
    rotated_at  bigint not null,
    rotation_id text   not null references secret_rotation (id),
    primary key (secret, rotated_at, rotation_id)
);

-- +goose Down
drop table secret_rotation_of;
drop table secret_rotation;
alter table dispatch_endpoint drop column secret_changed_at;
alter table node drop column keys;
drop table secret_in_use;
