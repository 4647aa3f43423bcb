-- +goose Up

-- Waiting jobs by the time at which they are over, so that each dies then, wherever it waits. A job
-- that has no such time costs nothing.
create index dispatch_job_expire on dispatch_job (expire_at)
    where expire_at is not null and status in ('PENDING', 'RETRYING');

-- +goose Down
drop index dispatch_job_expire;
