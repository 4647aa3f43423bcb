-- +goose Up

-- What an endpoint is told about who sends: its authorization, client certificate, own authorities and
-- further headers, encrypted, beside its signing secret. What people may see of it is JSON in the clear.
alter table dispatch_endpoint add column credentials blob;
alter table dispatch_endpoint add column credentials_shown text;
alter table dispatch_endpoint add column credentials_changed_at bigint;

-- +goose Down
alter table dispatch_endpoint drop column credentials_changed_at;
alter table dispatch_endpoint drop column credentials_shown;
alter table dispatch_endpoint drop column credentials;
