package console

import (
	"fmt"
	"regexp"
	"strings"
)

// Snippet is a ready piece of configuration or code.
type Snippet struct{ ID, Name, Text string }

// placeholder stands where a secret is not known any more.
const placeholder = "YOUR_KEY"

var plainAddress = regexp.MustCompile(`^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$`)

// smtpUser is the user name with which a key logs in at SMTP.
const smtpUser = "apikey"

// snippets are how programs send by this relay: with a key's secret only in the
// answer that shows the key once (WB-07), else with a placeholder.
func (v *visit) snippets(secret, from, to string) []Snippet {
	if secret == "" {
		secret = placeholder
	}
	// In code and in shells, an address with quotes or blanks would need its own
	// escaping in each: an example stands there instead.
	if !plainAddress.MatchString(from) {
		from = "you@example.com"
	}
	if !plainAddress.MatchString(to) {
		to = "somebody@example.com"
	}
	s := snippetValues{host: v.Hostname, url: strings.TrimSuffix(v.URL(), "/"), secret: secret, from: from, to: to, starttls: 587, implicit: 465}
	for _, p := range v.Ports {
		if p.Implicit {
			s.implicit = p.Number
		} else {
			s.starttls = p.Number
		}
	}
	return []Snippet{
		{"smtp", "SMTP settings", s.settings(v.Ports)}, {"swaks", "swaks", s.swaks()}, {"curl", "curl", s.curl()}, {"go", "Go", s.golang()},
		{"node", "Node.js", s.node()}, {"python", "Python", s.python()}, {"php", "PHP", s.php()}, {"postfix", "Postfix relayhost", s.postfix()},
	}
}

type snippetValues struct {
	host, url, secret, from, to string
	starttls, implicit          int
}

func (s snippetValues) settings(ports []Port) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Host:      %s\n", s.host)
	for _, p := range ports {
		how := "STARTTLS"
		if p.Implicit {
			how = "TLS from the start"
		}
		fmt.Fprintf(&b, "Port:      %d (%s)\n", p.Number, how)
	}
	fmt.Fprintf(&b, "User name: %s\nPassword:  %s", smtpUser, s.secret)
	return b.String()
}

func (s snippetValues) swaks() string {
	return fmt.Sprintf("swaks --server %s --port %d --tls \\\n  --auth PLAIN --auth-user %s --auth-password '%s' \\\n  --from %s --to %s \\\n  --header 'Subject: Hello' --body 'It works.'",
		s.host, s.starttls, smtpUser, s.secret, s.from, s.to)
}

func (s snippetValues) curl() string {
	return fmt.Sprintf(`curl %s/v3/mail/send \
  -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' \
  -d '{"personalizations":[{"to":[{"email":"%s"}]}],"from":{"email":"%s"},
       "subject":"Hello","content":[{"type":"text/plain","value":"It works."}]}'`, s.url, s.secret, s.to, s.from)
}

func (s snippetValues) golang() string {
	return fmt.Sprintf(`package main

import (
	"log"
	"net/smtp"
)

func main() {
	auth := smtp.PlainAuth("", %q, %q, %q)
	text := "From: %s\r\nTo: %s\r\nSubject: Hello\r\n\r\nIt works.\r\n"
	if err := smtp.SendMail("%s:%d", auth, %q, []string{%q}, []byte(text)); err != nil {
		log.Fatal(err)
	}
}`, smtpUser, s.secret, s.host, s.from, s.to, s.host, s.starttls, s.from, s.to)
}

func (s snippetValues) node() string {
	return fmt.Sprintf(`// npm install nodemailer
const nodemailer = require("nodemailer");

const transport = nodemailer.createTransport({
  host: %q, port: %d, secure: true,
  auth: { user: %q, pass: %q },
});
transport.sendMail({ from: %q, to: %q, subject: "Hello", text: "It works." })
  .then((sent) => console.log(sent.response));`, s.host, s.implicit, smtpUser, s.secret, s.from, s.to)
}

func (s snippetValues) python() string {
	return fmt.Sprintf(`import smtplib
from email.message import EmailMessage

message = EmailMessage()
message["From"], message["To"], message["Subject"] = %q, %q, "Hello"
message.set_content("It works.")
with smtplib.SMTP_SSL(%q, %d) as relay:
    relay.login(%q, %q)
    relay.send_message(message)`, s.from, s.to, s.host, s.implicit, smtpUser, s.secret)
}

func (s snippetValues) php() string {
	return fmt.Sprintf(`<?php // composer require phpmailer/phpmailer
require 'vendor/autoload.php';

$mail = new PHPMailer\PHPMailer\PHPMailer(true);
$mail->isSMTP();
$mail->Host = '%s';
$mail->Port = %d;
$mail->SMTPSecure = 'ssl';
$mail->SMTPAuth = true;
$mail->Username = '%s';
$mail->Password = '%s';
$mail->setFrom('%s');
$mail->addAddress('%s');
$mail->Subject = 'Hello';
$mail->Body = 'It works.';
$mail->send();`, s.host, s.implicit, smtpUser, s.secret, s.from, s.to)
}

func (s snippetValues) postfix() string {
	return fmt.Sprintf(`# main.cf
relayhost = [%[1]s]:%[2]d
smtp_tls_security_level = secure
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd

# sasl_passwd (mode 600), then: postmap /etc/postfix/sasl_passwd
[%[1]s]:%[2]d %[3]s:%[4]s`, s.host, s.starttls, smtpUser, s.secret)
}
