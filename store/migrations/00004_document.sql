-- +goose Up

-- A document. What it says is in its revisions, of which one is current; a final document
-- (finalized_at is set) never gets another.
create table document (
    id           text   not null primary key,
    author_id    text   not null,
    revision     bigint not null,
    created_at   bigint not null,
    finalized_at bigint
);
create index document_author on document (author_id, id);

-- What a document said at a time. A row is written once and never updated.
create table document_revision (
    document_id text   not null references document (id),
    number      bigint not null,
    created_at  bigint not null,
    title       text   not null,
    content     text   not null,
    primary key (document_id, number)
);

-- The bytes that were sealed, as they were signed and sent, and their seal. The public key is kept
-- with it, so that the seal can be checked when the key has long been rotated.
create table document_seal (
    document_id  text not null primary key references document (id),
    content_hash text not null,
    key_id       text not null,
    public_key   blob not null,
    signature    blob not null,
    sealed       blob not null
);

-- To whom a final document has been sent: once to each endpoint, however often it is asked for.
create table document_dispatch (
    document_id text   not null references document (id),
    endpoint_id text   not null,
    job_id      text   not null,
    created_at  bigint not null,
    primary key (document_id, endpoint_id)
);

-- +goose Down
drop table document_dispatch;
drop table document_seal;
drop table document_revision;
drop table document;
