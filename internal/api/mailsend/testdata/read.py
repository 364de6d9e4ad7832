# Reads a message from standard input with Python's email package and writes what
# it found as JSON, in the shape of the test's type seen.
import json
import sys
from email import message_from_bytes, policy

msg = message_from_bytes(sys.stdin.buffer.read(), policy=policy.default)


def boxes(name):
    field = msg[name]
    if field is None:
        return None
    return [{"Name": a.display_name, "Email": a.username + "@" + a.domain} for a in field.addresses]


def leaf(part):
    disposition = part["Content-Disposition"]
    if part.get_content_type() == "message/rfc822":
        # The one inner message, as it stood.
        body = part.get_payload(0).as_bytes(policy=policy.SMTP.clone(max_line_length=None))
    else:
        body = part.get_payload(decode=True)
        if part.get_content_maintype() == "text" and disposition is None:
            body = part.get_content().replace("\r\n", "\n").replace("\n", "\r\n").encode()
    return {
        "Type": part.get_content_type(),
        "Name": part.get_filename() or "",
        "Disposition": disposition.content_disposition if disposition else "",
        "ContentID": str(part["Content-ID"] or ""),
        "Body": body.hex(),
    }


out = {"Contents": [], "Related": [], "Mixed": []}


def walk(part, inside):
    kind = part.get_content_type()
    if part.get_content_maintype() == "multipart":
        for i, inner in enumerate(part.iter_parts()):
            walk(inner, kind if i > 0 or kind == "multipart/alternative" else "")
        return
    found = leaf(part)
    if found["Disposition"] == "":
        out["Contents"].append(found)
    elif inside == "multipart/related":
        out["Related"].append(found)
    else:
        out["Mixed"].append(found)


walk(msg, "")
out.update({"From": boxes("From"), "To": boxes("To"), "Cc": boxes("Cc"), "ReplyTo": boxes("Reply-To")})
out.update({"Subject": str(msg["Subject"]), "MessageID": str(msg["Message-ID"]), "Date": str(msg["Date"])})
out["Headers"] = {k.title(): str(v) for k, v in msg.items() if k.title().startswith("X-")}
out["Defects"] = [repr(d) for part in msg.walk() for d in part.defects]
json.dump(out, sys.stdout)
