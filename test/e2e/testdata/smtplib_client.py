"""Drives a relay with Python's smtplib. Reads a JSON object on standard input,
runs the scenario named in it and prints a JSON object with what happened."""

import json
import smtplib
import ssl
import sys
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8


def connect(conf):
    """Opens a session over TLS and logs in."""
    context = ssl.create_default_context(cafile=conf["ca_file"])
    address = conf["smtp_tls"] if conf["implicit"] else conf["smtp_starttls"]
    host, port = address.rsplit(":", 1)
    if conf["implicit"]:
        session = smtplib.SMTP_SSL(local_hostname="client.example", timeout=20, context=context)
    else:
        session = smtplib.SMTP(local_hostname="client.example", timeout=20)
    # The name that the certificate is checked against.
    session._host = conf.get("server_name", "localhost")
    session.connect(host, int(port))
    if not conf["implicit"]:
        session.ehlo()
        session.starttls(context=context)
    session.login(conf["username"], conf["api_key"])
    return session


def message(conf, policy=SMTP, body="plain\n"):
    m = EmailMessage(policy=policy)
    m["From"] = conf["from"]
    m["To"] = conf["to"]
    m["Subject"] = conf["subject"]
    m.set_content(body)
    return m


def plain(conf):
    with connect(conf) as session:
        refused = session.send_message(message(conf))
    return {"refused": sorted(refused)}


def eight_bit(conf):
    """A body of raw UTF-8 octets, declared BODY=8BITMIME."""
    m = message(conf)
    m.replace_header("Content-Transfer-Encoding", "8bit")
    raw = m.as_bytes().replace(b"\r\n\r\nplain", "\r\n\r\ncaf\u00e9 \u2603".encode())
    with connect(conf) as session:
        refused = session.sendmail(conf["from"], [conf["to"]], raw, mail_options=["BODY=8BITMIME"])
    return {"refused": sorted(refused)}


def smtputf8(conf):
    """An address and a header that need SMTPUTF8; smtplib asks for it by itself."""
    m = message(conf, policy=SMTPUTF8, body="caf\u00e9\n")
    del m["To"]
    m["To"] = conf["utf8_to"]
    m["X-Town"] = "Z\u00fcrich"
    with connect(conf) as session:
        refused = session.send_message(m)
    return {"refused": sorted(refused)}


def many(conf):
    """Many recipients, some of them refused: the rest get their mail."""
    good = ["user%03d@%s" % (n, conf["to"].split("@")[1]) for n in range(100)]
    bad = ["no-domain", "two@@example.com", "ctrl\x01@example.com"]
    with connect(conf) as session:
        refused = session.sendmail(conf["from"], good + bad, message(conf).as_bytes())
    return {"refused": sorted(refused), "codes": sorted({r[0] for r in refused.values()}), "good": good}


def several(conf):
    """Ten messages in one session."""
    with connect(conf) as session:
        for _ in range(10):
            session.send_message(message(conf))
            session.noop()
    return {}


def forged(conf):
    m = message(conf)
    m.replace_header("From", conf["unverified_from"])
    with connect(conf) as session:
        try:
            session.send_message(m, from_addr=conf["from"])
        except smtplib.SMTPDataError as e:
            return {"code": e.smtp_code, "text": e.smtp_error.decode()}
    return {"code": 250}


def wrong_key(conf):
    try:
        connect(conf)
    except smtplib.SMTPAuthenticationError as e:
        return {"code": e.smtp_code, "text": e.smtp_error.decode()}
    return {"code": 235}


def main():
    conf = json.load(sys.stdin)
    print(json.dumps(globals()[conf["scenario"]](conf)))


main()
