-- +goose Up

-- Waiting jobs by the time at which they are over, so that each dies then, wherever it waits. A job
-- that has no such time costs nothing.
create index dispatch_job_expire on dispatch_job (expire_at)
    where expire_at is not null and status in ('PENDING', 'RETRYING');

-- How an endpoint fails, while it does: one that is well has no row. Shared by all servers.
create table dispatch_breaker (
    endpoint_id   text   not null primary key,
    failures      bigint not null, -- in a row, while it is closed
    failing_since bigint not null, -- when the first of them ended
    trips         bigint not null, -- how often it has opened since it was last closed
    open_until    bigint           -- null: it is closed; in the past: it is half open
);

-- How many jobs an endpoint is sent a second, in thousandths; null: as many as there are. next_at is when
-- the next may start, over all servers.
alter table dispatch_endpoint add column rate_milli bigint;
create table dispatch_rate (
    endpoint_id text   not null primary key,
    next_at     bigint not null
);

-- Jobs of one endpoint and key, which are sent one after another. turn is the place of the one that may be
-- sent, turn_id its id; 0: nobody waits.
create table dispatch_order (
    endpoint_id  text   not null,
    ordering_key text   not null,
    last_place   bigint not null,
    turn         bigint not null,
    turn_id      text,
    primary key (endpoint_id, ordering_key)
);
alter table dispatch_job add column ordering_key text;
alter table dispatch_job add column order_place bigint; -- in the order in which they were accepted
alter table dispatch_job add column order_wait bigint;  -- while it waits for its turn: when it is due then
alter table dispatch_job add column out_of_order boolean not null default false;
create index dispatch_job_behind on dispatch_job (endpoint_id, ordering_key, order_place) where order_wait is not null;
drop index dispatch_job_wrong;
create index dispatch_job_wrong on dispatch_job (id)
    where (due_at is not null and attempt_count >= attempt_budget)
       or (due_at is null and lease_until is null and order_wait is null and status in ('PENDING', 'IN_FLIGHT', 'RETRYING'));

-- +goose Down
drop index dispatch_job_wrong;
create index dispatch_job_wrong on dispatch_job (id)
    where (due_at is not null and attempt_count >= attempt_budget)
       or (due_at is null and lease_until is null and status in ('PENDING', 'IN_FLIGHT', 'RETRYING'));
drop index dispatch_job_behind;
alter table dispatch_job drop column out_of_order;
alter table dispatch_job drop column order_wait;
alter table dispatch_job drop column order_place;
alter table dispatch_job drop column ordering_key;
drop table dispatch_order;
drop table dispatch_rate;
alter table dispatch_endpoint drop column rate_milli;
drop table dispatch_breaker;
drop index dispatch_job_expire;
