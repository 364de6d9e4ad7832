"""Verifies every DKIM signature of the message on standard input with dkimpy,
asking the DNS server named on the command line (host:port). Prints one line per
signature: domain, selector, algorithm, pass or fail."""

import re
import sys

import dkim
import dns.message
import dns.query

host, port = sys.argv[1].rsplit(":", 1)


def txt(name, timeout=5):
    """Asks for a TXT record; dkimpy gives and takes octets."""
    query = dns.message.make_query(name.decode().rstrip("."), "TXT")
    answer = dns.query.udp_with_fallback(query, host, port=int(port), timeout=timeout)[0]
    for rrset in answer.answer:
        for record in rrset:
            if hasattr(record, "strings"):
                return b"".join(record.strings)
    return None


raw = sys.stdin.buffer.read()
signatures = re.findall(rb"(?im)^dkim-signature:((?:[^\r\n]|\r\n[ \t])*)", raw)
for index, signature in enumerate(signatures):
    tags = dict(re.findall(r"(\w+)\s*=\s*([^;\s]+)", signature.decode()))
    try:
        ok = dkim.DKIM(raw, minkey=1024).verify(idx=index, dnsfunc=txt)
    except dkim.DKIMException as e:
        ok = False
        print("reason:", e, file=sys.stderr)
    print(tags["d"], tags["s"], tags["a"], "pass" if ok else "fail")
