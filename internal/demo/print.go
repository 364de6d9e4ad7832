package demo

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// printer writes what people read. Its errors are not looked at: a demo that
// nobody reads goes on.
type printer struct {
	out    io.Writer
	colour bool
}

// paint colours text on a terminal.
func (p *printer) paint(code, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) title(s string) { fmt.Fprintf(p.out, "\n%s\n", p.paint("1", s)) }

func (p *printer) text(s string) { fmt.Fprintf(p.out, "%s\n", printable(s)) }

// step shows one step with its outcome.
func (p *printer) step(ok bool, what, outcome string) {
	mark := p.paint("32", "✓")
	if !ok {
		mark = p.paint("31", "✗")
	}
	fmt.Fprintf(p.out, "  %s %s\n", mark, what)
	for line := range strings.SplitSeq(outcome, "\n") {
		if line != "" {
			fmt.Fprintf(p.out, "      %s\n", p.paint("2", printable(line)))
		}
	}
}

// printable keeps what came over the network from driving a terminal.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' && c != '\t' || c == 0x7f || c >= 0x80 && c < 0xa0 || c == 0xfffd {
			return '?'
		}
		return c
	}, s)
}

// world says where things are.
func (p *printer) world(r Ready) {
	for _, row := range [][2]string{
		{"relay, STARTTLS", r.SMTPStartTLS}, {"relay, TLS from the first byte", r.SMTPTLS}, {"relay, HTTP", "http://" + r.HTTP},
		{"receiving server", r.Sink}, {"DNS", r.DNS}, {"certificate authority", r.CAFile}, {"data", r.DataDir},
	} {
		fmt.Fprintf(p.out, "  %-31s %s\n", row[0], row[1])
	}
}

// invitation says how to send one's own mail.
func (p *printer) invitation(r Ready, logPath string) {
	p.title("Now you.")
	p.text("The relay stays up. User name " + r.Username + ", password the key below; send as anything at " + customer + ".")
	for _, c := range commands(r) {
		fmt.Fprintf(p.out, "\n%s\n\n%s\n", p.paint("1", "With "+c.with+":"), c.text)
	}
	p.title("And then:")
	fmt.Fprintf(p.out, "  What has arrived:  curl http://%s/demo/inbox\n  What happened:     postern events --data-dir %s\n  The relay's log:   %s\n", r.HTTP, quote(r.DataDir), quote(logPath))
	fmt.Fprintf(p.out, "  The console:       postern user setup you@%s --account %s --data-dir %s\n                     and open the link that it prints\n", inbox, customerAccount, quote(r.DataDir))
	fmt.Fprintf(p.out, "\n  Ctrl-C stops.\n")
}

// command is a text to paste into a shell. Nothing in it is indented that a
// shell would mind.
type command struct {
	with string
	text string
}

func commands(r Ready) []command {
	host, port, _ := net.SplitHostPort(r.SMTPStartTLS)
	_, tlsPort, _ := net.SplitHostPort(r.SMTPTLS)
	return []command{
		{"swaks", strings.Join([]string{
			"swaks --server " + host + " --port " + port + " --tls --auth PLAIN \\",
			"  --auth-user " + r.Username + " --auth-password " + r.APIKey + " \\",
			"  --from " + r.From + " --to " + r.To + " --header 'Subject: from swaks'",
		}, "\n")},
		{"curl", strings.Join([]string{
			`printf 'From: ` + r.From + `\r\nTo: ` + r.To + `\r\nSubject: from curl\r\n\r\nHello.\r\n' |`,
			"curl --url smtps://localhost:" + tlsPort + " --cacert " + quote(r.CAFile) + " \\",
			"  --user " + r.Username + ":" + r.APIKey + " --mail-from " + r.From + " --mail-rcpt " + r.To + " --upload-file -",
		}, "\n")},
		{"Python", strings.Join([]string{
			"python3 - <<'EOF'",
			"import smtplib, ssl",
			"with smtplib.SMTP('localhost', " + port + ") as s:",
			"    s.starttls(context=ssl.create_default_context(cafile=" + pythonString(r.CAFile) + "))",
			"    s.login('" + r.Username + "', '" + r.APIKey + "')",
			"    s.sendmail('" + r.From + "', ['" + r.To + "'],",
			"               'From: " + r.From + `\nTo: ` + r.To + `\nSubject: from Python\n\nHello.\n')`,
			"EOF",
		}, "\n")},
	}
}

// quote is for a shell.
func quote(s string) string {
	if !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./:@", c))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func pythonString(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
