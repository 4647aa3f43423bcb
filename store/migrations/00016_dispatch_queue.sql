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

-- +goose Down
drop table dispatch_breaker;
drop index dispatch_job_expire;
