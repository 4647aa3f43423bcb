-- +goose Up

-- A service account's key, by its SHA-256. hint is how it begins, by which its holder tells it from
-- others. A revoked one stays, for the record.
create table api_key (
    id         text   not null primary key,
    owner_id   text   not null references account (id) on delete cascade,
    name       text   not null,
    hash       blob   not null unique,
    hint       text   not null,
    scopes     text   not null, -- separated by spaces
    created_at bigint not null,
    created_by text   not null,
    expires_at bigint not null,
    revoked_at bigint
);
create index api_key_by_owner on api_key (owner_id) where revoked_at is null;

-- When a key and a session were last used, to the minute. They are tables of their own so that whoever
-- may write them can write nothing else about a key or a session.
create table api_key_use (
    key_id  text   not null primary key references api_key (id) on delete cascade,
    used_at bigint not null,
    ip      text
);
create table session_use (
    session_id text   not null primary key references session (id) on delete cascade,
    used_at    bigint not null,
    ip         text
);

-- The one offer to choose a new password that a user has, by the SHA-256 of its token. The hash of the
-- password before is kept until then, so that it is not chosen again.
create table password_reset (
    user_id       text   not null primary key references account (id) on delete cascade,
    token_hash    blob   not null unique,
    hash_before   text,
    created_at    bigint not null,
    expires_at    bigint not null
);
create index password_reset_end on password_reset (expires_at);

-- +goose Down
drop table password_reset;
drop table session_use;
drop table api_key_use;
drop table api_key;
