-- +goose Up

-- A legal hold: the events that fit all that it names stay, however old they are. What it does not
-- name fits everything. A row that is released is deleted; that it was, and what it held, are events.
create table audit_hold (
    id         text   not null primary key,
    actor_id   text,
    entity_id  text,
    from_at    bigint, -- included
    to_at      bigint, -- not included
    reason     text   not null,
    created_by text   not null,
    created_at bigint not null
);

-- What a dry run has found may go, and how far that has come. Applying it deletes in pieces; last_id is
-- the event up to which it has been through, so that whoever finds it unfinished goes on from there.
-- Plans that nobody applied are deleted; the others stay, as the record of what was enforced.
create table audit_retention_plan (
    hash         text   not null primary key,
    days         bigint not null, -- the policy: AUDIT_RETENTION_DAYS
    cutoff       bigint not null, -- events before it may go
    eligible     bigint not null,
    held         bigint not null,
    holds        text   not null, -- the holds that the plan knew, JSON
    created_at   bigint not null,
    intended_at  bigint,          -- when it was begun; null: it never was
    completed_at bigint,
    last_id      text   not null,
    deleted      bigint not null
);
create index audit_retention_unfinished on audit_retention_plan (created_at) where completed_at is null;

-- One row that a hold and a deletion lock in turn, so that none is made while what it would keep goes.
create table audit_retention_lock (id bigint not null primary key);
insert into audit_retention_lock (id) values (1);

-- +goose Down
drop table audit_retention_lock;
drop table audit_retention_plan;
drop table audit_hold;
