-- +goose Up

-- A passkey (WebAuthn): the public half of a key pair that its user's device holds. public_key is its
-- COSE key. sign_count is what the device counted at its last use: 0 for ever where it does not count.
create table passkey (
    id              text    not null primary key,
    user_id         text    not null references account (id) on delete cascade,
    credential_id   blob    not null unique,
    public_key      blob    not null,
    name            text    not null,
    transports      text    not null, -- separated by spaces: how browsers may reach the device
    sign_count      bigint  not null,
    backup_eligible boolean not null, -- may be copied to other devices of its user; never changes
    backed_up       boolean not null, -- is
    created_at      bigint  not null,
    last_used_at    bigint
);
create index passkey_by_user on passkey (user_id, id);

-- Challenges that were answered rightly, by their SHA-256: none is taken twice. What is not here was
-- never answered, or is too old to be.
create table passkey_challenge (
    hash      blob   not null primary key,
    forget_at bigint not null
);
create index passkey_challenge_end on passkey_challenge (forget_at);

-- The passkey that a sign-in was made with, where one was: such a session has shown two factors whether
-- or not its user has an authenticator app.
alter table session add column passkey_id text;

-- +goose Down
alter table session drop column passkey_id;
drop table passkey_challenge;
drop table passkey;
