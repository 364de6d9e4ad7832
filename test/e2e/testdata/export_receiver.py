"""Receives what a relay exports: a webhook of signed JSON over TLS, or an
OpenTelemetry collector (OTLP over HTTP, JSON). Standard library only.

usage: export_receiver.py webhook|otlp CERT KEY SECRET PORT OUT

Writes one JSON object a line to OUT: {"stream","id","name","record"} for each
record, or {"problem": ...}. The first posts are refused, in each way that a
target can, so that the relay has to send again.
"""

import base64
import datetime
import hashlib
import hmac
import http.server
import json
import ssl
import sys
import time

KIND, CERT, KEY, SECRET, PORT, OUT = sys.argv[1:]
seen = 0


def note(**what):
    with open(OUT, "a", encoding="utf-8") as f:
        f.write(json.dumps(what) + "\n")


def signed(head, body):
    """Standard Webhooks 1.0: HMAC-SHA256 of "id.timestamp.body"."""
    name, at = head["webhook-id"], head["webhook-timestamp"]
    if abs(time.time() - int(at)) > 300:
        return "the time stamp is old"
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    mac = hmac.new(key, f"{name}.{at}.".encode() + body, hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(mac).decode()
    if not any(hmac.compare_digest(wanted, s) for s in head["webhook-signature"].split()):
        return "the signature is wrong"
    return ""


def webhook(head, body):
    if problem := signed(head, body):
        raise ValueError(problem)
    records = json.loads(body)
    assert isinstance(records, list) and records, "not an array"
    for r in records:
        assert set(r) == {"stream", "id", "time", "name", "text", "record"}, sorted(r)
        datetime.datetime.fromisoformat(r["time"].replace("Z", "+00:00"))
        assert isinstance(r["record"], dict) and r["text"].strip() == r["text"] and "\n" not in r["text"]
        yield r["stream"], r["id"], r["name"], r["record"]


def attributes(of):
    out = {}
    for a in of["attributes"]:
        assert set(a) == {"key", "value"} and list(a["value"]) == ["stringValue"], a
        assert a["key"] not in out, "twice: " + a["key"]
        out[a["key"]] = a["value"]["stringValue"]
    return out


def otlp(head, body):
    if head["Authorization"] != "Bearer " + SECRET:
        raise ValueError("not authorised")
    whole = json.loads(body)
    assert list(whole) == ["resourceLogs"], list(whole)
    for resource in whole["resourceLogs"]:
        about = attributes(resource["resource"])
        assert about["service.name"] == "postern" and about["host.name"] == "relay.sender.test", about
        for scope in resource["scopeLogs"]:
            assert scope["scope"]["name"]
            for r in scope["logRecords"]:
                at = r["timeUnixNano"]
                # proto3 JSON: 64-bit integers are texts, enumerations numbers.
                assert isinstance(at, str) and abs(time.time() - int(at) / 1e9) < 3600, at
                assert isinstance(r["severityNumber"], int) and 1 <= r["severityNumber"] <= 24
                assert r["severityText"] and list(r["body"]) == ["stringValue"]
                a = attributes(r)
                yield a["postern.stream"], a["log.record.uid"], r["eventName"], json.loads(a["postern.record"])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global seen
        body = self.rfile.read(int(self.headers["Content-Length"]))
        path = "/v1/logs" if KIND == "otlp" else "/hooks/postern?to=siem"
        try:
            if self.path != path or self.headers["Content-Type"].split(";")[0] != "application/json":
                raise ValueError(f"{self.path} {self.headers['Content-Type']}")
            records = list((otlp if KIND == "otlp" else webhook)(self.headers, body))
        except Exception as e:  # whatever is wrong with it
            note(problem=f"{type(e).__name__}: {e}")
            return self.answer(400, b"")
        seen += 1
        if seen == 1:
            return self.answer(503, b"")
        if seen == 2 and KIND == "otlp":
            return self.answer(200, b'{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"full"}}')
        if seen == 2:
            return self.answer(302, b"")
        for stream, name, what, record in records:
            note(stream=stream, id=name, name=what, record=record)
        self.answer(200, b"{}")

    def answer(self, status, body):
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


server = Server(("127.0.0.1", int(PORT)), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(CERT, KEY)
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
