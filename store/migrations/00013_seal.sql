-- +goose Up

-- The sealed log (docs/decisions/0015-sealed-log.md): the envelopes of audit_pending become the leaves of
-- one RFC 6962 tree, kept in the layout of C2SP tlog-tiles. Sealing only adds rows, and rewrites the last
-- row of each level while it is not full. Nothing here is ever deleted but checkpoints that newer ones
-- make needless.

-- The tree's head, and who may extend it: one row. The MAC covers origin, size and root, under a key that
-- is not in the database, between one checkpoint and the next. Whoever seals names the size, the root and
-- the token that they know; a leader whose lease another one has taken finds none of them.
create table audit_tree (
    id          bigint not null primary key, -- 1
    origin      text   not null,             -- of the log, in its checkpoints; the first one's stays
    size        bigint not null,             -- leaves
    root        blob   not null,             -- 32 bytes
    key_id      text   not null,             -- of the audit key that the MAC is under
    mac         blob   not null,
    holder      text   not null,             -- the leader's incarnation
    token       bigint not null,             -- one more with each new leader
    lease_until bigint not null
);

-- Entry bundles: 256 leaves a row. entries is tile/entries/N as it is served: each envelope behind its
-- length (uint16, big-endian). event_ids has the 16 bytes of each leaf's event id, so that what is wrong
-- with a leaf can be named when the event itself is gone.
create table audit_bundle (
    n         bigint not null primary key,
    width     bigint not null, -- 1 … 256
    entries   blob   not null,
    event_ids blob   not null
);

-- Hash tiles: tile/L/N as it is served, up to 256 hashes of 32 bytes.
create table audit_tile (
    level  bigint not null,
    n      bigint not null,
    width  bigint not null, -- 1 … 256
    hashes blob   not null,
    primary key (level, n)
);

-- The leaf map, by runs: the events counter … counter + count - 1 of a writer are the leaves leaf … leaf +
-- count - 1. An event is found by its row's writer and counter, without an entry for each.
create table audit_leaf (
    writer  text   not null,
    counter bigint not null,
    count   bigint not null,
    leaf    bigint not null,
    primary key (writer, counter)
);
create unique index audit_leaf_order on audit_leaf (leaf);

-- Signed tree heads. All of the last hour, the last of each hour for a month, and the last of each day for
-- ever are kept: the age of a leaf is proven by a checkpoint that covers it. note is the signed note
-- without the witnesses' lines, which are in cosignatures as they came.
create table audit_checkpoint (
    size         bigint  not null primary key,
    at           bigint  not null, -- the time that is signed in it
    root         blob    not null,
    key_id       text    not null,
    note         text    not null,
    cosignatures text    not null,
    cosigned_by  bigint  not null, -- how many witnesses
    link         boolean not null  -- the first of a key, by which it follows the one before: kept for ever
);
create index audit_checkpoint_age on audit_checkpoint (at);

-- The keys that have signed checkpoints, each from a size on, as note verifiers: the key history that an
-- auditor is given. Each change of it is an event that names both keys.
create table audit_key (
    key_id     text   not null primary key,
    verifier   text   not null,
    first_size bigint not null,
    first_at   bigint not null
);

-- What waited to be sealed and could not be, because it is not what a server of ours wrote: evidence.
create table audit_rejected (
    id       text   not null primary key,
    at       bigint not null,
    reason   text   not null,
    writer   text   not null,
    counter  bigint not null,
    event_id text   not null,
    envelope blob   not null,
    mac      blob   not null
);
create index audit_rejected_newest on audit_rejected (at);

-- Writers that live, or have ended without saying so. settled is the number up to which a heartbeat event
-- has told of every number that did not commit.
create table audit_writer (
    writer     text   not null primary key,
    started_at bigint not null,
    seen_at    bigint not null,
    settled    bigint not null
);

-- Up to which size each witness has cosigned, and how asking it last went.
create table audit_witness (
    url         text   not null primary key,
    size        bigint not null,
    cosigned_at bigint,
    failed_at   bigint,
    error       text
);

-- +goose Down
drop table audit_witness;
drop table audit_writer;
drop table audit_rejected;
drop table audit_key;
drop table audit_checkpoint;
drop table audit_leaf;
drop table audit_tile;
drop table audit_bundle;
drop table audit_tree;
