# SPDX-License-Identifier: MIT
"""A client of the bus in plain Python, written from docs/protocol.md and schemas/bus.proto alone.

It shows that those two are enough, and it is how the tests say things to a router that libbus would never say.
"""
import array
import fcntl
import mmap
import os
import pathlib
import re
import select
import socket
import struct
import time

SCHEMA = pathlib.Path(__file__).resolve().parents[2] / "schemas" / "bus.proto"
PREFIX = struct.Struct("<IHBB")
PACKET_MAX = 131079
TIMEOUT = float(os.environ.get("TEST_TIMEOUT", "60"))

VERBS = {
    "HELLO": 1, "WELCOME": 2, "STATUS": 3, "GOODBYE": 4, "PING": 5, "PONG": 6, "ADVERTISE": 16,
    "UNADVERTISE": 17, "PUBLISH": 18, "PUBLISH_CREDIT": 19, "CONFIRM": 20, "BUFFER": 21, "UNBUFFER": 22,
    "RETURNED": 23, "SUBSCRIBE": 32, "UNSUBSCRIBE": 33, "MESSAGE": 34, "TOPIC": 35, "PEER": 36, "CREDIT": 37,
    "LOSS": 38, "RELEASE": 39, "MONITOR": 48, "MONITORED": 49, "SNAPSHOT": 50, "CLIENT_STATS": 51, "TOPIC_STATS": 52, "COUNTER": 53,
    "SNAPSHOT_END": 54, "CLEAR": 27, "INTEREST": 28, "WILL": 29, "ACK": 41, "SILENCE": 42, "RESTORED": 7, "STOPPING": 8, "REPLACE": 9, "ACKED": 30,
    "REQUEST": 64, "CALL": 65, "REPLY": 66, "ANSWER": 67, "DONE": 68, "CANCEL": 69,
}
NAMES = {number: name for name, number in VERBS.items()}
STATUS = ("OK MALFORMED UNKNOWN_VERB UNEXPECTED INVALID_TOPIC INVALID_FILTER INVALID_ARGUMENT IN_USE UNKNOWN_ALIAS "
          "UNKNOWN_SUBSCRIPTION DENIED LIMIT NO_CREDIT NO_MEMORY STALLED UNSUPPORTED UNKNOWN_BUFFER BAD_DESCRIPTORS "
          "NO_RESPONDER RESPONDER_GONE TIMEOUT CANCELLED UNKNOWN_CALL UNKNOWN_DELIVERY").split()
GOODBYE = [None] + "NORMAL SHUTDOWN PROTOCOL_ERROR HELLO_TIMEOUT SLOW_CONSUMER LIMIT NO_MEMORY VERSION".split()
POLICY = "drop_oldest drop_newest latest block disconnect".split()
LOSS = [None] + "QUEUE_FULL CONFLATED NO_MEMORY TOO_LARGE NO_DESCRIPTORS EXPIRED ROUTER_RESTART DENIED".split()
BUFFERS, DESCRIPTORS = 1, 2  # features; DESCRIPTORS also as a flag of SUBSCRIBE
RETURNS = 4  # features
SERVE = 32  # SUBSCRIBE.flags
ALL, MORE = 1, 1  # REQUEST.flags, REPLY.flags and ANSWER.flags
FDS_MAX = 17  # descriptors received at a time


# ---- protobuf: the three wire types that bus.proto uses, and skipping of the rest

def load_schema(path):
    """{message: [(number, name, type, repeated)]}"""
    messages = {}
    for name, block in re.findall(r"message (\w+) \{(.*?)\}", path.read_text(), re.S):
        fields = re.findall(r"(repeated )?(\w+) (\w+) = (\d+);", block)
        messages[name] = [(int(n), field, kind, bool(rep)) for rep, kind, field, n in fields]
    return messages


MESSAGES = load_schema(SCHEMA)
INSIDE = load_schema(SCHEMA.with_name("inside.proto"))  # section 22


def message_of(verb_name):
    return "".join(part.capitalize() for part in verb_name.split("_"))


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_field(number, kind, value, messages):
    if kind in ("uint32", "uint64"):
        return varint(number << 3) + varint(value)
    if kind == "fixed64":
        return varint(number << 3 | 1) + struct.pack("<Q", value)
    if kind not in ("bytes", "string"):
        value = encode(kind, value, messages)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def encode(message, fields, messages=MESSAGES):
    """Fields by number, absent and zero ones left out."""
    unknown = set(fields) - {name for _, name, _, _ in messages[message]}
    if unknown:
        raise KeyError(f"{message} has no {unknown}")
    out = b""
    for number, name, kind, repeated in messages[message]:
        value = fields.get(name)
        for item in (value or ()) if repeated else [value] if value else []:
            out += encode_field(number, kind, item, messages)
    return out


def read_varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def read_raw(data, at, wire_type):
    if wire_type == 0:
        return read_varint(data, at)
    if wire_type == 1:
        return struct.unpack_from("<Q", data, at)[0], at + 8
    if wire_type == 2:
        length, at = read_varint(data, at)
        return data[at:at + length], at + length
    return struct.unpack_from("<I", data, at)[0], at + 4


def decode(message, data, messages=MESSAGES):
    empty = {"bytes": b"", "string": ""}
    fields = {number: (name, kind, rep) for number, name, kind, rep in messages[message]}
    values = {name: [] if rep else empty.get(kind, 0) for name, kind, rep in fields.values()}
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        value, at = read_raw(data, at, key & 7)
        if key >> 3 not in fields:
            continue
        name, kind, repeated = fields[key >> 3]
        if kind in messages:
            value = decode(kind, value, messages)
        elif kind == "string":
            value = value.decode()
        if repeated:
            values[name].append(value)
        else:
            values[name] = value
    return values


# ---- frames

class Frame:
    def __init__(self, verb, header, body=b"", fds=()):
        self.verb = NAMES.get(verb, verb)
        self.body = body
        self.fds = fds  # descriptors that came with it: the caller's now
        self.fields = decode(message_of(self.verb), header)

    def __getattr__(self, name):
        try:
            return self.fields[name]
        except KeyError:
            raise AttributeError(name) from None

    def __repr__(self):
        fields = {k: v for k, v in self.fields.items() if v}
        return f"{self.verb} {fields} {self.body[:40]!r}"


def raw_frame(verb, header=b"", body=b"", fds=0):
    return PREFIX.pack(len(body), len(header), verb, fds) + header + body


def frame(verb_name, body=b"", /, n_fds=0, **fields):
    if "headers" in fields:
        fields["headers"] = [{"name": n, "value": v} for n, v in fields["headers"]]
    return raw_frame(VERBS[verb_name], encode(message_of(verb_name), fields), body, n_fds)


# ---- buffers, section 10

F_ADD_SEALS, F_GET_SEALS = 1033, 1034
SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE, SEAL_FUTURE_WRITE = 1, 2, 4, 8, 16
SEALS_OF_SIZE = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW


class SharedMemory:
    """A memfd that this process can write to and others can only read; with immutable=True it is full already."""

    def __init__(self, size, content=b"", immutable=False, seals=None):
        self.fd = os.memfd_create("pybus", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.truncate(self.fd, size)
        self.size = size
        if immutable:
            os.pwrite(self.fd, content, 0)
            self.memory = None
        else:
            self.memory = mmap.mmap(self.fd, size)
            self.memory[:len(content)] = content
        if seals is None:
            seals = SEALS_OF_SIZE | (SEAL_WRITE if immutable else SEAL_FUTURE_WRITE)
        fcntl.fcntl(self.fd, F_ADD_SEALS, seals)

    def close(self):
        os.close(self.fd)


# ---- connections

def socket_name(path):
    return b"\0" + path[1:].encode() if path.startswith("@") else path


class Closed(Exception):
    """The router has closed the connection."""


class Client:
    """A connection. Addresses as in section 1: seqpacket:PATH or stream:PATH."""

    def __init__(self, address, hello=True, name="pybus", features=0, session=0):
        kind, path = address.split(":", 1)
        self.packets = kind == "seqpacket"
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET if self.packets else socket.SOCK_STREAM)
        self.sock.connect(socket_name(path))
        self.sock.setblocking(False)
        self.buffer = b""
        self.batches = []  # descriptors, in the order in which they came: (descriptors, whether it was cut)
        self.buffers = {}  # BUFFER: what is mapped, by id
        self.topics, self.peers = {}, {}
        self.token = 0
        self.welcome = None
        if hello:
            self.send("HELLO", protocol_min=1, protocol_max=1, client_name=name, features=features, session=session)
            self.welcome = self.expect("WELCOME")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.sock.close()

    def wait(self, writing, deadline):
        lists = ([], [self.sock], []) if writing else ([self.sock], [], [])
        left = deadline - time.monotonic()
        if left <= 0 or not any(select.select(*lists, left)):
            raise TimeoutError("the router does not " + ("read" if writing else "answer"))

    def send_raw(self, data):
        """One packet on seqpacket, some bytes on stream."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            try:
                sent = self.sock.send(data, socket.MSG_NOSIGNAL)
                data = data[sent:]
                if not data:
                    return
            except BlockingIOError:
                self.wait(True, deadline)

    def send_raw_fds(self, data, fds):
        """One packet, or the beginning of a frame on a stream: the descriptors go with its first byte."""
        deadline = time.monotonic() + TIMEOUT
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        while True:
            try:
                sent = self.sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
                break
            except BlockingIOError:
                self.wait(True, deadline)
        if sent < len(data):
            self.send_raw(data[sent:])

    def send(self, verb_name, body=b"", fds=(), **fields):
        self.send_raw_fds(frame(verb_name, body, n_fds=len(fds), **fields), fds)

    def fill(self, deadline):
        self.wait(False, deadline)
        data, fds, flags, _ = socket.recv_fds(self.sock, 1 << 20, FDS_MAX, socket.MSG_CMSG_CLOEXEC)
        if fds or flags & socket.MSG_CTRUNC:
            self.batches.append((fds, bool(flags & socket.MSG_CTRUNC)))
        if not data:
            raise Closed
        self.buffer += data

    def read_frame(self, deadline):
        while True:
            if len(self.buffer) >= PREFIX.size:
                body_bytes, header_bytes, verb, n_fds = PREFIX.unpack_from(self.buffer)
                end = PREFIX.size + header_bytes + body_bytes
                if len(self.buffer) >= end:
                    header = self.buffer[PREFIX.size:PREFIX.size + header_bytes]
                    body = self.buffer[PREFIX.size + header_bytes:end]
                    self.buffer = self.buffer[end:]
                    return Frame(verb, header, body, self.claim(n_fds))
                assert not self.packets, "a packet must hold whole frames"
            self.fill(deadline)

    def claim(self, n):
        """The batch of a frame that announces n descriptors."""
        if n == 0:
            return []
        fds, cut = self.batches.pop(0)
        assert len(fds) == n and not cut, (fds, n, cut)
        return fds

    def map(self, f):
        self.buffers[f.id] = mmap.mmap(f.fds[0], f.fields["bytes"], mmap.MAP_SHARED, mmap.PROT_READ)
        os.close(f.fds[0])

    def recv(self, timeout=TIMEOUT):
        """The next frame. Ids in TOPIC, PEER and BUFFER are remembered; in MESSAGE, CALL, ANSWER and MONITORED they are
        resolved, and a body in a buffer is the frame's body. PING is answered."""
        f = self.read_frame(time.monotonic() + timeout)
        while f.verb == "PING":
            self.send("PONG", token=f.token)
            f = self.read_frame(time.monotonic() + timeout)
        if f.verb == "BUFFER":
            self.map(f)
        elif f.verb == "UNBUFFER":
            del self.buffers[f.id]
        elif f.verb == "TOPIC":
            self.topics[f.id] = f.name
        elif f.verb == "PEER":
            self.peers[f.id] = f
        if f.verb in ("MESSAGE", "CALL", "MONITORED"):
            f.topic_name = self.topics[f.topic].decode()
        if f.verb in ("MESSAGE", "CALL", "ANSWER", "MONITORED"):
            f.peer = self.peers[f.sender]
        if f.verb in ("MESSAGE", "CALL", "ANSWER") and f.fields["buffer"]:
            f.body = self.buffers[f.fields["buffer"]][f.offset:f.offset + f.fields["bytes"]]
        return f

    def recv_any(self, *verbs):
        """The next frame but TOPIC, PEER, BUFFER and PUBLISH_CREDIT, unless asked for; checks its verb if any is given."""
        while True:
            f = self.recv()
            if f.verb in verbs or f.verb not in ("TOPIC", "PEER", "BUFFER", "PUBLISH_CREDIT"):
                assert not verbs or f.verb in verbs, f"{f} instead of {verbs}"
                return f

    def expect(self, verb, /, **fields):
        f = self.recv_any(verb)
        for name, value in fields.items():
            got = f.fields[name]
            assert got == value, f"{name} is {got!r} and not {value!r} in {f}"
        return f

    def expect_status(self, code, /, **fields):
        return self.expect("STATUS", code=STATUS.index(code), **fields)

    def expect_end(self, reason):
        """GOODBYE {reason} and then end of file; whatever is before it is returned."""
        before = []
        while True:
            f = self.recv()
            if f.verb == "GOODBYE":
                break
            before.append(f)
        assert GOODBYE[f.reason] == reason, f
        self.expect_eof()
        return before

    def expect_eof(self):
        try:
            f = self.recv()
        except (Closed, ConnectionResetError):
            return
        raise AssertionError(f"{f} instead of end of file")

    def sync(self):
        """PING and everything that comes before its PONG."""
        self.token += 1
        self.send("PING", token=self.token)
        before = []
        while True:
            f = self.recv()
            if f.verb == "PONG":
                assert f.token == self.token
                return before
            before.append(f)

    def subscribe(self, number, topic_filter, **fields):
        if "policy" in fields:
            fields["policy"] = POLICY.index(fields["policy"])
        self.send("SUBSCRIBE", subscription=number, filter=topic_filter, **fields)
        self.expect_status("OK", verb=VERBS["SUBSCRIBE"], subscription=number)

    def serve(self, number, topic_filter, **fields):
        self.subscribe(number, topic_filter, flags=SERVE | fields.pop("flags", 0), **fields)

    def request(self, call, topic, body=b"", **fields):
        self.send("REQUEST", body, call=call, topic=topic, **fields)

    def reply(self, call, body=b"", **fields):
        """call: the frame CALL."""
        self.send("REPLY", body, call=call.fields["call"], **fields)

    def expect_done(self, status, /, **fields):
        return self.expect("DONE", status=STATUS.index(status), **fields)

    def publish(self, topic, body=b"", **fields):
        self.send("PUBLISH", body, topic=topic, **fields)


def wait_ready(fd):
    """Waits for what bus-router --ready-fd writes."""
    readable, _, _ = select.select([fd], [], [], TIMEOUT)
    return bool(readable) and os.read(fd, 64) == b"READY\n"
