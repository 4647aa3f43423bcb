-- +goose Up

-- What was last raised to people, one row for each kind of alert, shared by all servers: an alert is
-- raised by whoever changes the row's id first, and sent by whoever counts its next try first.
create table alert (
    name       text   not null primary key, -- dispatch.dead_letter
    id         text   not null,             -- of the alert that was raised last
    raised_at  bigint not null,
    newest_at  bigint not null,             -- when the newest dead letter died that it tells of
    message    text   not null,             -- what is sent, JSON
    tries      bigint not null,             -- how often it has been sent, or was about to be
    try_at     bigint,                      -- when it is sent next; null: no more
    sent_at    bigint,
    last_error text
);

-- Dead letters by the time of their death. What is not dead costs nothing.
create index dispatch_job_died on dispatch_job (dead_lettered_at) where dead_lettered_at is not null;

-- Refusals are few among the events, and are counted and looked for by themselves.
create index audit_log_denied on "AuditLog" (id) where outcome = 'DENIED';

-- Accounts that may not sign in before they have enrolled.
create index account_unenrolled on account (id) where not mfa_enabled and not disabled;

-- What must never be, so that looking for it costs nothing. These indexes are empty.
-- A job that waits although its attempts are used up, or that nothing will ever send:
create index dispatch_job_wrong on dispatch_job (id)
    where (due_at is not null and attempt_count >= attempt_budget)
       or (due_at is null and lease_until is null and status in ('PENDING', 'IN_FLIGHT', 'RETRYING'));
-- A refresh token that is kept as something else than a SHA-256:
create index refresh_token_raw on refresh_token (hash) where length(hash) <> 32;

-- +goose Down
drop index refresh_token_raw;
drop index dispatch_job_wrong;
drop index account_unenrolled;
drop index audit_log_denied;
drop index dispatch_job_died;
drop table alert;
