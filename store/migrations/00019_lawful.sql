-- +goose Up

-- A plan of retention is about leaves: those whose age a checkpoint proves. ranges is JSON, half-open,
-- [[first, end], …]; what is held is not in it. Plans from before have none, and were completed.
alter table audit_retention_plan add column checkpoint_size bigint not null default 0;
alter table audit_retention_plan add column checkpoint_at bigint not null default 0;
alter table audit_retention_plan add column cosigned bigint not null default 0;
alter table audit_retention_plan add column ranges text not null default '[]';
create index audit_retention_done on audit_retention_plan (completed_at) where completed_at is not null;

-- +goose Down
drop index audit_retention_done;
alter table audit_retention_plan drop column ranges;
alter table audit_retention_plan drop column cosigned;
alter table audit_retention_plan drop column checkpoint_at;
alter table audit_retention_plan drop column checkpoint_size;
