"""Verifies mail as a receiver does, with dkimpy and pyspf, which share no code
with the relay. Usage: domain_verify.py HOST:PORT, with the DNS server to ask.

Each line of the input is a request in JSON, each line of the output its answer:
  {"mail": path}                          {"signatures": [{"d", "s", "a", "pass", "why"}]}
  {"ip": …, "mail_from": …, "helo": …}    {"spf": "pass", "why": …}
  {"results": field value}                {"results": [{"method", "result", "properties"}]}
"""

import json
import re
import sys
import time

import authres
import dkim
import dns.resolver
import spf

host, port = sys.argv[1].rsplit(":", 1)
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port, resolver.lifetime = [host], int(port), 20
dns.resolver.default_resolver = resolver
asked = {}


def txt(name, timeout=5):
    """Asks for a TXT record, and knows it for a second, as the tree's caches do."""
    name = name.decode().rstrip(".").lower()
    at, found = asked.get(name, (0, None))
    if time.monotonic() - at > 1:
        try:
            found = b"".join(resolver.resolve(name, "TXT")[0].strings)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            found = None
        asked[name] = time.monotonic(), found
    return found


def signatures(path):
    with open(path, "rb") as f:
        raw = f.read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head = raw.split(b"\r\n\r\n", 1)[0] + b"\r\n"
    found = []
    for index, field in enumerate(re.findall(rb"(?im)^dkim-signature:((?:[^\r\n]|\r\n[ \t])*)", head)):
        tags = dict(re.findall(r"(\w+)\s*=\s*([^;\s]+)", field.decode()))
        ok, why = False, ""
        try:
            ok = dkim.DKIM(raw, minkey=1024).verify(idx=index, dnsfunc=txt)
        except Exception as e:  # whatever it is, it is no pass
            why = repr(e)
        found.append({"d": tags["d"], "s": tags["s"], "a": tags["a"], "pass": bool(ok), "why": why})
    return found


def results(value):
    header = authres.AuthenticationResultsHeader.parse("Authentication-Results: " + value)
    return [
        {"method": r.method, "result": r.result, "properties": {p.type + "." + p.name: p.value for p in r.properties}}
        for r in header.results
    ]


for line in sys.stdin:
    request = json.loads(line)
    if "mail" in request:
        answer = {"signatures": signatures(request["mail"])}
    elif "ip" in request:
        verdict, why = spf.check2(i=request["ip"], s=request["mail_from"], h=request["helo"])
        answer = {"spf": verdict, "why": why}
    else:
        answer = {"results": results(request["results"])}
    print(json.dumps(answer), flush=True)
