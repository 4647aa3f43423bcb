-- +goose Up

-- How often what happened in each minute: the audit log's events, counted once some seconds after they
-- were written (audit/count.go). A week of it is read where a week of events would be too much, and
-- nothing is older than eight days.
create table event_count (
    minute bigint not null, -- since 1970, UTC
    action text   not null,
    detail text   not null, -- of an action that is counted by a detail: a dead letter's reason; else ''
    n      bigint not null,
    primary key (minute, action, detail)
);

-- Up to which time events have been counted: one row, which servers change by compare-and-set.
create table event_count_mark (
    id            bigint not null primary key, -- 1
    counted_until bigint not null
);

-- When the reason for an alert that was raised had ended: then, and only then, the same may be told anew.
alter table alert add column over_at bigint;

-- The trace that a job belongs to (W3C Trace Context), as its request brought it or as accepting it was
-- traced: its attempts go on with it, whenever and wherever they are made.
alter table dispatch_payload add column trace_parent text;
alter table dispatch_payload add column trace_state text;

-- +goose Down
alter table dispatch_payload drop column trace_state;
alter table dispatch_payload drop column trace_parent;
alter table alert drop column over_at;
drop table event_count_mark;
drop table event_count;
