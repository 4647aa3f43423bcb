-- +goose Up

-- The dashboard's cookie of a session, by its SHA-256: what a browser holds in place of tokens. A
-- session has one at most.
create table page_session (
    session_id text   not null primary key references session (id) on delete cascade,
    hash       blob   not null unique,
    created_at bigint not null
);

-- +goose Down
drop table page_session;
