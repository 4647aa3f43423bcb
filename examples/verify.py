#!/usr/bin/env python3
"""Verify an export of a Sealpost audit log: a second opinion, in Python's standard library alone.

    verify.py DIR --key KEY [--key KEY ...] [--checkpoint FILE]

DIR is what `sealpost audit export --out DIR` wrote, KEY the log's verifier key (NAME+HASH+KEY) as you got it from
outside, FILE a checkpoint that you kept. Exit status: 0 the log holds, 1 it does not, 2 it cannot be told.

It shares no code with Sealpost. The rules: RFC 6962 section 2.1 (the tree), C2SP tlog-tiles (the files), C2SP
signed-note and tlog-checkpoint (what is signed), RFC 8032 (Ed25519). An entry of the log is 73 bytes: version 1,
key id (8), writer (16), the writer's counter (8), microseconds since 1970 (8), SHA-256 of salt and body (32).
"""
import argparse
import base64
import hashlib
import json
import os
import sys
from datetime import datetime, timedelta, timezone

findings, notes = [], []


def find(kind, leaf, text):
    findings.append(f"{kind}: {'' if leaf is None else f'leaf {leaf}: '}{text}")


# --- Ed25519, verification alone (RFC 8032, section 5.1). Slow, and for a few signatures fast enough.
P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P


def recover_x(y, sign):
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - x2) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point(b):
    n = int.from_bytes(b, "little")
    y = n & (2**255 - 1)
    x = recover_x(y, n >> 255)
    return None if x is None else (x, y, 1, x * y % P)


def add(a, b):
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    c, d = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = f - e, d - c, d + c, f + e
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(n, a):
    result = (0, 1, 1, 0)
    while n:
        if n & 1:
            result = add(result, a)
        a, n = add(a, a), n >> 1
    return result


BY = 4 * pow(5, P - 2, P) % P
BASE = (recover_x(BY, 0), BY, 1, recover_x(BY, 0) * BY % P)


def ed25519_holds(key, message, signature):
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if len(key) != 32 or len(signature) != 64 or a is None or r is None or s >= L:
        return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + message).digest(), "little") % L
    left, right = times(s, BASE), add(r, times(h, a))
    return (left[0] * right[2] - right[0] * left[2]) % P == 0 and (left[1] * right[2] - right[1] * left[2]) % P == 0


# --- Signed notes and checkpoints.
def parse_key(text):
    name, key_hash, key = text.strip().split("+", 2)
    raw = base64.b64decode(key, validate=True)
    if raw[0] != 1 or hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8] != key_hash:
        raise ValueError("no Ed25519 note verifier")
    return name, key_hash, raw[1:]


class Checkpoint:
    def __init__(self, note):
        text, _, self.signatures = note.partition("\n\n")
        self.text = text + "\n"
        lines = text.split("\n")
        self.origin, self.size, self.root = lines[0], int(lines[1]), base64.b64decode(lines[2], validate=True)
        self.time = next((when(x[5:]) for x in lines[3:] if x.startswith("time ")), None)
        self.good, self.trusted = False, False

    def signed_by(self, key):
        name, key_hash, public = key
        for line in self.signatures.split("\n"):
            if line.startswith(f"— {name} "):
                raw = base64.b64decode(line.rsplit(" ", 1)[1])
                if raw[:4].hex() == key_hash and name == self.origin and ed25519_holds(public, self.text.encode(), raw[4:]):
                    return True
        return False


def when(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


# --- The tree (RFC 6962): a list of (leaves, hash) of the complete subtrees from the left.
def node(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def grow(edge, h):
    size = 1
    while edge and edge[-1][0] == size:
        h, size = node(edge.pop()[1], h), 2 * size
    edge.append((size, h))


def root_of(edge):
    h = edge[-1][1] if edge else hashlib.sha256(b"").digest()
    for _, left in reversed(edge[:-1]):
        h = node(left, h)
    return h


class Export:
    def __init__(self, path):
        self.path = path

    def read(self, *names):
        for name in names:
            path = os.path.join(self.path, name)
            if os.path.exists(path):
                with open(path, "rb") as f:
                    return f.read()
        return b""

    def lines(self, name):
        return [json.loads(x) for x in self.read(name).decode().split("\n") if x]

    def tile(self, level, n, width):
        number = f"{n % 1000:03d}"
        while n >= 1000:
            n //= 1000
            number = f"x{n % 1000:03d}/{number}"
        return f"tile/{level}/{number}" + ("" if width == 256 else f".p/{width}"), f"bodies/{number}.jsonl"

    def bundle(self, n, width):
        b, entries = self.read(self.tile("entries", n, width)[0]), []
        while len(b) >= 2:
            end = 2 + int.from_bytes(b[:2], "big")
            entries.append(b[2:end])
            b = b[end:]
        return entries, {e["leaf"]: e for e in self.lines(self.tile("entries", n, width)[1])}


SPECIAL = ("audit.retention.", "audit.event.redaction_", "audit.hold.", "audit.key.changed", "audit.heartbeat", "audit.seal.rejected")


class Log:
    """Everything that one walk along the leaves finds out."""

    def __init__(self, export, size, checkpoints):
        self.missing, self.special, self.numbers, self.times = [], [], {}, {}
        edge, levels, by_size = [], [], {c.size: c for c in checkpoints}
        for leaf in range(size):
            n, i, width = leaf // 256, leaf % 256, min(256, size - leaf // 256 * 256)
            if i == 0:
                entries, bodies = export.bundle(n, width)
            entry = entries[i] if i < len(entries) else b""
            if len(entry) != 73 or entry[0] != 1:
                find("entry-missing", leaf, "the entry is missing, or is no envelope")
            h = hashlib.sha256(b"\x00" + entry).digest()
            grow(edge, h)
            self.tiles(export, levels, 0, h, size)
            self.event(leaf, entry, bodies.get(leaf, {}))
            if leaf + 1 in by_size:
                by_size[leaf + 1].good = root_of(edge) == by_size[leaf + 1].root
        for level, hashes in enumerate(levels):
            if hashes and hashes[1]:
                self.compare(export, level, hashes[0], hashes[1])

    def tiles(self, export, levels, level, h, size):
        if len(levels) == level:
            levels.append([0, []])
        state = levels[level]
        state[1].append(h)
        if len(state[1]) == 256:
            self.compare(export, level, state[0], state[1])
            edge = []
            for x in state[1]:
                grow(edge, x)
            state[0], state[1] = state[0] + 1, []
            self.tiles(export, levels, level + 1, root_of(edge), size)

    def compare(self, export, level, n, hashes):
        name = export.tile(level, n, len(hashes))[0]
        if export.read(name) != b"".join(hashes):
            find("tile-edited", n << 8 * (level + 1), f"{name} is not what the entries make")

    def event(self, leaf, entry, line):
        writer, counter = entry[9:25].hex(), int.from_bytes(entry[25:33], "big")
        at = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(microseconds=int.from_bytes(entry[33:41], "big"))
        self.times[leaf] = at
        if self.numbers.setdefault(writer, {}).setdefault(counter, leaf) != leaf:
            find("counter-reused", leaf, f"number {counter} of its writer is leaf {self.numbers[writer][counter]} too")
        body = line.get("body", "").encode() or base64.b64decode(line.get("bodyBase64", ""))
        if not body:
            self.missing.append(leaf)
        elif hashlib.sha256(bytes.fromhex(line["salt"]) + body).digest() != entry[41:]:
            find("body-edited", leaf, f"event {line['id']}: body or salt is not what was sealed")
        else:
            event = json.loads(body)
            if event["id"] != line["id"] or event["time"] != at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"):
                find("body-edited", leaf, f"event {line['id']}: its body says another id or time")
            if event["action"].startswith(SPECIAL):
                self.special.append((leaf, at, event["action"], event.get("entityId"), event.get("details", {})))


def trust(keys, checkpoints, exported, log):
    """Mark which checkpoints are signed by a key that follows from those that were given."""
    history = {k["keyId"]: parse_key(k["verifierKey"]) for k in exported}
    before = [(leaf, parse_key(d["previousVerifierKey"])) for leaf, _, action, _, d in log.special
              if action == "audit.key.changed" and d.get("previousVerifierKey")]
    limits = {k: None for k in keys}
    while True:
        known = dict(limits)
        for c in checkpoints:
            c.trusted = c.trusted or any(c.signed_by(k) for k, end in limits.items() if end is None or c.size <= end)
            if c.trusted and c.row.get("link") and c.row["keyId"] in history and c.signed_by(history[c.row["keyId"]]):
                limits.setdefault(history[c.row["keyId"]], None)
        signed = max((c.size for c in checkpoints if c.trusted and c.good), default=0)
        for leaf, key in before:
            if leaf < signed:
                limits.setdefault(key, leaf)
        if limits == known:
            return signed, limits


def unlawful(leaf, log, signed, checkpoints):
    """Why a body may not be missing; None where it may."""
    why = "deleted-without-intent", "the body is gone, and no sealed intent says that it may"
    holds = {}
    for at_leaf, at, action, about, d in log.special:
        if action in ("audit.hold.placed", "audit.hold.added"):
            holds[about] = d
        elif action == "audit.hold.released":
            holds.pop(about, None)
        elif at_leaf >= signed:
            continue
        elif action == "audit.event.redaction_intended" and d.get("leaf") == leaf:
            ours = holds.items()
        elif action == "audit.retention.intended" and any(a <= leaf < b for a, b in d.get("ranges", [])):
            cutoff, size, ours = when(d["cutoff"]), d["checkpointSize"], holds.items()
            if (cutoff > at - timedelta(days=d["days"]) or when(d["checkpointTime"]) > cutoff or any(b > size for _, b in d["ranges"])
                    or not any(c.trusted and c.good and c.size >= size and c.time <= cutoff for c in checkpoints)):
                why = "too-young", f"the intent at leaf {at_leaf} does not prove its age"
                continue
            if set(holds) - set(d.get("holds", [])):
                why = "hold-ignored", f"the intent at leaf {at_leaf} does not know every hold that stood"
                continue
        else:
            continue
        if action.endswith("intended") and not any(covers(h, log.times[leaf]) for _, h in ours):
            return None
        if action.endswith("intended"):
            why = "hold-ignored", "a hold on its time stood"
    return why


def covers(hold, at):
    return (not hold.get("actorId") and not hold.get("entityId") and not ("from" in hold and at < when(hold["from"]))
            and not ("to" in hold and at >= when(hold["to"])))


def count(log, rejected):
    """Numbers that heartbeats have settled, and that are no leaves and did not roll back."""
    for writer, numbers in log.numbers.items():
        settled, lost, explained = 0, 0, {r["counter"] for r in rejected if r["writer"].replace("-", "") == writer}
        for _, _, action, about, d in log.special:
            if action == "audit.heartbeat" and (about or "").replace("-", "") == writer:
                settled, lost = max(settled, d["settled"]), lost + d.get("lost", 0)
                explained.update(n for first, k in d.get("undone", []) for n in range(first, first + k))
        gone = [n for n in range(1, min(settled, max(numbers)) + 1) if n not in numbers and n not in explained]
        if len(gone) > lost and not log.missing:  # a heartbeat that was removed lawfully may have explained it
            find("deleted-before-sealing", None, f"numbers {gone[:10]} of the writer {writer} were given to events and are not in the log")


def dates(log, checkpoints):
    """An event happened after the checkpoint that it was sealed behind, and before the one that covers it."""
    i, hour = 0, timedelta(hours=1)
    for leaf, at in sorted(log.times.items()):
        while i < len(checkpoints) and checkpoints[i].size <= leaf:
            i += 1
        if i and at < checkpoints[i - 1].time - hour or i < len(checkpoints) and at > checkpoints[i].time + hour:
            find("backdated" if i and at < checkpoints[i - 1].time else "postdated", leaf, f"the event is dated {at}, hours away from its checkpoints")


def main():
    args = argparse.ArgumentParser(description="Verify an export of a Sealpost audit log.")
    args.add_argument("dir")
    args.add_argument("--key", action="append", default=[])
    args.add_argument("--checkpoint")
    args = args.parse_args()
    export = Export(args.dir)
    keys = [parse_key(k) for k in args.key]
    last = Checkpoint(export.read("checkpoint").decode())
    last.row, checkpoints = {}, []
    for row in export.lines("checkpoints.jsonl"):
        c = last if row["size"] == last.size else Checkpoint(row["note"])
        c.row = row
        checkpoints.append(c)
    if last not in checkpoints:
        checkpoints.append(last)
    outside = None
    if args.checkpoint:
        with open(args.checkpoint, "rb") as f:
            outside = Checkpoint(f.read().decode())
        outside.row = {}
    extra = [outside] if outside and outside.size not in {c.size for c in checkpoints} else []
    log = Log(export, last.size, checkpoints + extra)
    if outside and not extra:
        outside.good = any(c.size == outside.size and c.root == outside.root and c.good for c in checkpoints)
    signed, limits = trust(keys, checkpoints + extra, json.loads(export.read("keys.json") or "[]"), log)
    rejected = export.lines("rejected.jsonl")
    for c in checkpoints:
        if "time" in c.row and when(c.row["time"]) != c.time:
            find("checkpoint-forged", c.size - 1, f"the checkpoint over {c.size} leaves is not of the time that is said of it")
        if not c.good:
            find("rewritten", c.size - 1, f"the checkpoint over {c.size} leaves has signed other leaves")
        if keys and not c.trusted:
            find("checkpoint-forged", c.size - 1, f"the checkpoint over {c.size} leaves is not signed by a key of this log")
    for leaf in log.missing:
        why = unlawful(leaf, log, signed if keys else last.size, checkpoints)
        if why:
            find(why[0], leaf, why[1])
    dates(log, sorted((c for c in checkpoints if c.good and c.trusted), key=lambda c: c.size))
    told = sum(d["count"] for _, _, action, _, d in log.special if action == "audit.seal.rejected")
    if told > len(rejected):
        find("evidence-removed", None, f"events tell of {told} rows that were not sealed, and {len(rejected)} are there")
    for r in rejected:
        find("forged-before-sealing", None, f"event {r['eventId']}: it was not sealed ({r['reason']})")
    count(log, rejected)
    if outside and not outside.good:
        find("truncated" if outside.size > last.size else "forked", None, f"the checkpoint from outside, over {outside.size} leaves, has signed another log")
    for f in findings:
        print("FINDING", f)
    print(f"{last.origin}: {last.size} leaves, {last.size - len(log.missing)} events, {signed} leaves under a checkpoint that is trusted")
    if findings:
        print("The log DOES NOT HOLD.")
        return 1
    if not keys or outside and not any(outside.signed_by(k) for k in limits):
        print("CANNOT TELL: no key was given, or the checkpoint from outside is not signed by one")
        return 2
    print("The log holds." + ("" if outside else " Whether it was set back as a whole, only a checkpoint from outside can tell."))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, KeyError, IndexError, TypeError) as problem:
        print(f"CANNOT TELL: {type(problem).__name__}: {problem}", file=sys.stderr)
        sys.exit(2)
