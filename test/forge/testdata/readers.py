"""Reads messages, each with its length before it (4 octets, big-endian), and
writes what Python's email package shows as their authors, one JSON line each."""
import email
import email.header
import email.policy
import email.utils
import json
import struct
import sys

FIELDS = ("From", "Sender", "Resent-From", "Resent-Sender")


def decoded(text):
    """A field as most programs decode it, before they parse it."""
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except Exception:
        return text


def modern(raw):
    authors, names = [], []
    message = email.message_from_bytes(raw, policy=email.policy.default)
    for field in FIELDS:
        for value in message.get_all(field, []):
            for address in getattr(value, "addresses", ()):
                authors.append(address.addr_spec)
                names.append(address.display_name)
            names.append(str(value))
    return {"reader": "Python, policy.default", "authors": authors, "names": names}


def old(raw):
    authors, names = [], []
    message = email.message_from_bytes(raw)
    for field in FIELDS:
        values = [str(v) for v in message.get_all(field, [])]
        for name, address in email.utils.getaddresses(values):
            authors.append(address)
            names.append(decoded(name))
        for value in values:
            authors.append(email.utils.parseaddr(value)[1])
    return {"reader": "Python, compat32", "authors": authors, "names": names}


def early(raw):
    authors, names = [], []
    message = email.message_from_bytes(raw)
    for field in FIELDS:
        for value in message.get_all(field, []):
            text = decoded(str(value))
            names.append(text)
            for name, address in email.utils.getaddresses([text]):
                authors.append(address)
                names.append(name)
    return {"reader": "Python, decoded before it is parsed", "authors": authors, "names": names}


def attempt(read, raw):
    try:
        return read(raw)
    except Exception as e:  # a program that fails shows nothing
        return {"reader": "Python: " + repr(e)[:200], "authors": [], "names": []}


def clean(found):
    def text(s):
        return str(s).encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    return {"reader": text(found["reader"]), "authors": [text(s) for s in found["authors"]], "names": [text(s) for s in found["names"]]}


def main():
    source = sys.stdin.buffer
    while True:
        length = source.read(4)
        if len(length) < 4:
            return
        raw = source.read(struct.unpack(">I", length)[0])
        print(json.dumps([clean(attempt(read, raw)) for read in (modern, old, early)]))


main()
