package console

import "strings"

// snippet is what to paste to send a first message.
type snippet struct {
	ID, Title string
	Text      string
	Where     string // the file that it belongs in, where it is one
}

// endpoint is where programs hand mail in, and as whom.
type endpoint struct {
	Host   string // of submission: TLS from the first octet on port 465, STARTTLS on 587
	User   string // at SMTP
	Secret string
	URL    string // of the HTTP API, without a slash at its end
	API    bool   // the secret works at the API too
	From   string
}

// secretWord stands for a secret that is not shown any more.
const secretWord = "YOUR_KEY"

// snippets are the ways to send with a key, with the installation's own host and
// the key's own user in them.
func (e endpoint) snippets() []snippet {
	if e.Secret == "" {
		e.Secret = secretWord
	}
	if e.From == "" {
		e.From = "you@example.com"
	}
	fill := strings.NewReplacer("{host}", e.Host, "{user}", e.User, "{secret}", e.Secret, "{url}", e.URL, "{from}", e.From)
	var out []snippet
	for _, s := range snippetTexts {
		if s.ID == "curl" && !e.API {
			s = snippetCurlSMTP
		}
		s.Text = fill.Replace(s.Text)
		out = append(out, s)
	}
	return out
}

var snippetCurlSMTP = snippet{ID: "curl", Title: "curl", Text: `curl --ssl-reqd smtps://{host}:465 --user '{user}:{secret}' \
  --mail-from {from} --mail-rcpt friend@example.org \
  --upload-file message.eml
`}

var snippetTexts = []snippet{
	{ID: "smtp", Title: "SMTP settings", Text: `Server:     {host}
Port:       465 (TLS), or 587 (STARTTLS)
User name:  {user}
Password:   {secret}
`},
	{ID: "swaks", Title: "swaks", Text: `swaks --server {host}:587 --tls --auth PLAIN \
  --auth-user {user} --auth-password '{secret}' \
  --from {from} --to friend@example.org
`},
	{ID: "curl", Title: "curl", Text: `curl {url}/v3/mail/send \
  -H 'Authorization: Bearer {secret}' -H 'Content-Type: application/json' \
  -d '{"personalizations":[{"to":[{"email":"friend@example.org"}]}],
       "from":{"email":"{from}"},"subject":"Hello",
       "content":[{"type":"text/plain","value":"It works."}]}'
`},
	{ID: "go", Title: "Go", Text: `auth := smtp.PlainAuth("", "{user}", "{secret}", "{host}")
err := smtp.SendMail("{host}:587", auth, "{from}",
	[]string{"friend@example.org"},
	[]byte("From: {from}\r\nTo: friend@example.org\r\nSubject: Hello\r\n\r\nIt works.\r\n"))
`},
	{ID: "node", Title: "Node.js", Text: `const nodemailer = require("nodemailer");
const relay = nodemailer.createTransport({
  host: "{host}", port: 465, secure: true,
  auth: { user: "{user}", pass: "{secret}" },
});
await relay.sendMail({ from: "{from}", to: "friend@example.org",
  subject: "Hello", text: "It works." });
`},
	{ID: "python", Title: "Python", Text: `import smtplib
from email.message import EmailMessage

m = EmailMessage()
m["From"], m["To"], m["Subject"] = "{from}", "friend@example.org", "Hello"
m.set_content("It works.")
with smtplib.SMTP_SSL("{host}", 465) as relay:
    relay.login("{user}", "{secret}")
    relay.send_message(m)
`},
	{ID: "php", Title: "PHP", Text: `$m = new PHPMailer\PHPMailer\PHPMailer(true);
$m->isSMTP();
$m->Host = '{host}'; $m->Port = 465; $m->SMTPSecure = 'ssl';
$m->SMTPAuth = true; $m->Username = '{user}'; $m->Password = '{secret}';
$m->setFrom('{from}'); $m->addAddress('friend@example.org');
$m->Subject = 'Hello'; $m->Body = 'It works.';
$m->send();
`},
	{ID: "postfix", Title: "Postfix", Where: "/etc/postfix/main.cf and /etc/postfix/sasl_passwd", Text: `# main.cf
relayhost = [{host}]:465
smtp_tls_wrappermode = yes
smtp_tls_security_level = verify
smtp_tls_CApath = /etc/ssl/certs
smtp_sasl_auth_enable = yes
smtp_sasl_security_options = noanonymous
smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd

# sasl_passwd (chmod 600, then: postmap /etc/postfix/sasl_passwd)
[{host}]:465 {user}:{secret}
`},
}

// Copy is the text with its button.
func (s snippet) Copy() Copyable { return Copyable{ID: "snippet-" + s.ID, Text: s.Text, Block: true} }
