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

-- +goose Down
drop table dispatch_rate;
alter table dispatch_endpoint drop column rate_milli;
drop table dispatch_breaker;
drop index dispatch_job_expire;
