#!/usr/bin/env python3
"""A receiver for Sealpost's jobs that needs nothing but Python's standard library.

    SEALPOST_SECRET=whsec_... python3 receiver.py --port 8080 --db inbox.db

1. verify    Believe nothing that is not signed (Standard Webhooks, https://www.standardwebhooks.com).
2. take      Take each job once. When an answer is lost the job comes again, under the same
             webhook-id; so that id is stored in the transaction of the work.
3. do_POST   Answer 2xx only when the work is stored. After most 4xx Sealpost gives a job up, after
             everything else it tries again.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import sqlite3
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE = 5 * 60  # seconds that a signature's time may be from ours
MAX_BODY = 8 << 20  # bytes: Sealpost's own limit of a payload


def verify(secret: bytes, headers, body: bytes, now: float) -> bool:
    """Tell whether a request is signed with our secret and of our time."""
    job, sent, signatures = (headers.get("webhook-" + name, "") for name in ("id", "timestamp", "signature"))
    if not job or not number(sent) or abs(now - int(sent)) > TOLERANCE:
        return False
    mac = hmac.new(secret, f"{job}.{sent}.".encode("latin-1") + body, hashlib.sha256)
    want = b"v1," + base64.b64encode(mac.digest())
    # While a secret is being replaced there are two signatures, with a space between them.
    # compare_digest takes the same time however much of a forged signature is right.
    return any(hmac.compare_digest(want, s.encode("latin-1")) for s in signatures.split(" "))


def number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16


def take(database: str, job: str, body: bytes) -> bool:
    """Do a job's work and remember the job, both or neither. False: it has been done before."""
    db = sqlite3.connect(database, timeout=30, isolation_level=None)
    try:
        db.execute("begin immediate")  # two deliveries of one job at once: the second waits here
        db.execute("create table if not exists taken (job text primary key, at real not null)")
        cursor = db.execute("insert into taken values (?, ?) on conflict do nothing", (job, time.time()))
        if cursor.rowcount == 1:
            work(db, body)
        db.execute("commit")
        return cursor.rowcount == 1
    finally:
        db.close()  # without a commit before it, this undoes everything


def work(db: sqlite3.Connection, body: bytes) -> None:
    """Your work goes here: write to the same database, and the job is done exactly once."""
    db.execute("create table if not exists inbox (body blob not null)")
    db.execute("insert into inbox values (?)", (body,))


def intact(body: bytes) -> bool:
    """Tell whether a sealed document is the text that its contentHash names (RFC 8785, SHA-256)."""
    try:
        message = json.loads(body)
        if message["type"] != "document.finalized":
            return True
        document, named = message["data"]["document"], message["data"]["contentHash"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return True  # no document: jobs carry anything
    canonical = json.dumps(document, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return named == "sha256:" + hashlib.sha256(canonical.encode("utf-8", "surrogatepass")).hexdigest()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps the connection for the next job
    timeout = 30  # seconds that a connection may be silent

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not number(length) or int(length) > MAX_BODY:
            return self.answer(413)
        body = self.rfile.read(int(length))
        if not verify(self.server.secret, self.headers, body, time.time()):
            return self.answer(401)  # before anything is read out of the body
        if not intact(body):
            return self.answer(422)
        first = take(self.server.database, self.headers["webhook-id"], body)
        print("took" if first else "had already", ascii(self.headers["webhook-id"]), flush=True)
        self.answer(204)

    def answer(self, status: int):
        self.send_response(status)
        if status != 204:  # after a body that was not read no other request can follow
            self.send_header("Content-Length", "0")
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *args):
        pass  # one line for each job is enough


def main():
    options = argparse.ArgumentParser(description="Receives Sealpost's jobs.")
    options.add_argument("--port", type=int, default=8080, help="0: any free one (default: 8080)")
    options.add_argument("--db", default="inbox.db", help="an SQLite file (default: inbox.db)")
    chosen, secret = options.parse_args(), os.environ.get("SEALPOST_SECRET", "")
    if not secret.startswith("whsec_"):
        options.error("SEALPOST_SECRET must be the endpoint's signing secret (whsec_...)")
    server = ThreadingHTTPServer(("127.0.0.1", chosen.port), Receiver)
    server.secret = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    server.database = chosen.db
    print("listening on port", server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
