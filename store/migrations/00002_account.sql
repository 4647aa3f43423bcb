-- +goose Up

-- A person. email_key is the address in the one form in which two spellings of it are equal.
-- totp_step is the time step of the last code that was taken, so that each code works once.
create table account (
    id                text    not null primary key,
    email             text    not null,
    email_key         text    not null unique,
    name              text    not null,
    role              text    not null,
    password_hash     text,
    password_by_admin boolean not null,
    enroll_before     bigint,
    mfa_enabled       boolean not null,
    totp_secret       blob,
    totp_step         bigint  not null,
    disabled          boolean not null,
    created_at        bigint  not null,
    updated_at        bigint  not null
);
create index account_admins on account (id) where role = 'ADMIN' and not disabled;

-- The one row that says that the first account was made. It outlives every account.
create table bootstrap (
    id      bigint not null primary key check (id = 1),
    user_id text   not null,
    at      bigint not null
);

-- One sign-in. Access tokens name it, refresh tokens belong to it, and both end with it.
create table session (
    id               text    not null primary key,
    user_id          text    not null references account (id) on delete cascade,
    created_at       bigint  not null,
    expires_at       bigint  not null,
    authenticated_at bigint  not null,
    refreshed_at     bigint,
    revoked_at       bigint,
    ip               text,
    user_agent       text
);
create index session_by_user on session (user_id, id);
create index session_live on session (id) where revoked_at is null;
create index session_end on session (expires_at);

-- The chain of a session's refresh tokens, by their SHA-256. One that is not spent is the chain's end;
-- a spent one keeps the id of the key that its successor was derived with.
create table refresh_token (
    hash          blob   not null primary key,
    session_id    text   not null references session (id) on delete cascade,
    created_at    bigint not null,
    spent_at      bigint,
    successor_key text
);
create index refresh_token_session on refresh_token (session_id);

-- A second factor that is offered and not yet anyone's: to whoever holds the enrollment token, or,
-- without one, to its user.
create table mfa_enrollment (
    user_id    text   not null primary key references account (id) on delete cascade,
    token_hash blob   unique,
    secret     blob,
    created_at bigint not null,
    expires_at bigint not null
);
create index mfa_enrollment_end on mfa_enrollment (expires_at);

create table backup_code (
    user_id text not null references account (id) on delete cascade,
    hash    blob not null,
    primary key (user_id, hash)
);

-- Attempts that are counted, by the hash of what they are counted for.
create table throttle (
    id            text   not null primary key,
    window_start  bigint not null,
    attempts      bigint not null,
    blocked_until bigint,
    forget_at     bigint not null
);
create index throttle_end on throttle (forget_at);

-- +goose Down
drop table throttle;
drop table backup_code;
drop table mfa_enrollment;
drop table refresh_token;
drop table session;
drop table bootstrap;
drop table account;
