"""Reads a letter on standard input as a mail reader does and prints what is in it
as JSON: headers, parts, and what the HTML part would show and fetch."""
import email
import email.policy
import html.parser
import json
import sys

FETCH = {"src", "href", "background", "action", "poster", "data", "srcset", "ping", "formaction"}


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.tags, self.handlers, self.fetches, self.text, self.code = set(), [], [], [], []
        self.inside = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        for name, value in attrs:
            if name.startswith("on"):
                self.handlers.append(name)
            if name in FETCH or "url(" in (value or ""):
                self.fetches.append(f"{tag} {name}={value}")
        if tag not in ("meta", "br", "link", "img"):
            self.inside.append(tag)
        if tag == "code":
            self.code.append("")

    def handle_endtag(self, tag):
        if tag in self.inside:
            while self.inside.pop() != tag:
                pass

    def handle_data(self, data):
        if "style" in self.inside:
            if "url(" in data or "@import" in data:
                self.fetches.append("style")
            return
        if "code" in self.inside:
            self.code[-1] += data
        self.text.append(data)


def main():
    m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
    parts = []
    for part in m.walk():
        if part.is_multipart():
            continue
        parts.append({
            "type": part.get_content_type(), "charset": part.get_content_charset(), "file": part.get_filename() or "", "text": part.get_content().replace("\r\n", "\n"),
            "defects": [repr(d) for d in part.defects],
        })
    page = Page()
    best = m.get_body(("html",))
    if best is not None:
        page.feed(best.get_content())
    json.dump({
        "from": str(m["From"]), "to": [a.addr_spec for a in m["To"].addresses], "subject": str(m["Subject"]), "date": m["Date"].datetime.isoformat(),
        "id": str(m["Message-ID"]), "auto": str(m["Auto-Submitted"]), "type": m.get_content_type(),
        "defects": [repr(d) for d in m.defects] + [f"{k}: {d!r}" for k in set(m.keys()) for v in m.get_all(k) for d in v.defects],
        "parts": parts, "open": page.inside, "tags": sorted(page.tags), "handlers": page.handlers, "fetches": page.fetches,
        "page": " ".join(" ".join(page.text).split()), "code": page.code,
    }, sys.stdout)


main()
