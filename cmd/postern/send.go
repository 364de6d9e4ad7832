package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"postern/internal/relay"
)

// sendFlags describe one message and the way to its server.
type sendFlags struct {
	server, mode, helo   string
	login                loginFlags
	from, envelope, file string
	to                   []string
	subject, body        string
	trust                trustFlags
}

func (c *cli) sendCommand() *cobra.Command {
	var f sendFlags
	cmd := &cobra.Command{
		Use: "send --from A --to B HOST:PORT", Short: "Send one message to any server, showing the conversation", Args: cobra.ExactArgs(1),
		Long: "Send one message to any server, showing the conversation. The key comes from --key-env or\n" +
			"--key-file; without one there is no AUTH, but for EXTERNAL. It is sent under TLS only.",
		Example: "  postern send --key-file key --from ann@acme.example --to bob@example.net relay.example.org:587\n" +
			"  postern send --from ann@acme.example --to bob@example.net --file message.eml mx.example.net:25",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.server = args[0]
			return c.send(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.from, "from", "", "sender (required)")
	flags.StringVar(&f.envelope, "envelope-from", "", "envelope sender, if it is another")
	flags.StringSliceVar(&f.to, "to", nil, "recipients (required)")
	flags.StringVar(&f.subject, "subject", "postern test", "subject")
	flags.StringVar(&f.body, "body", "A test message from postern send.", "text")
	flags.StringVar(&f.file, "file", "", "send this file as the whole message; - is standard input")
	flags.StringVar(&f.mode, "tls", "auto", "auto (implicit on 465, else STARTTLS if offered), starttls, implicit or none")
	flags.StringVar(&f.helo, "helo", "", "name to say in EHLO; this host's if not given")
	f.login.on(flags)
	f.trust.on(flags)
	must(cmd.MarkFlagRequired("from"))
	must(cmd.MarkFlagRequired("to"))
	return cmd
}

// sent is what --json prints.
type sent struct {
	Server   string   `json:"server"`
	Accepted bool     `json:"accepted"`
	Reply    string   `json:"reply,omitempty"` // to the end of data
	Error    string   `json:"error,omitempty"`
	Dialogue []string `json:"dialogue"`
}

func (c *cli) send(ctx context.Context, f sendFlags) error {
	if !slices.Contains([]string{"auto", "starttls", "implicit", "none"}, f.mode) {
		return usageError(fmt.Sprintf("send: --tls %q: want auto, starttls, implicit or none", f.mode))
	}
	content, err := c.content(f)
	if err != nil {
		return err
	}
	conf, err := f.trust.tls(f.server)
	if err != nil {
		return err
	}
	key, err := f.login.read(conf)
	if err != nil {
		return err
	}
	result := sent{Server: f.server, Dialogue: []string{}}
	show := func(who, line string) {
		if c.json {
			result.Dialogue = append(result.Dialogue, who+": "+line)
			return
		}
		fmt.Fprintf(c.out, "%s: %s\n", who, line)
	}
	result.Reply, err = f.converse(ctx, conf, key, content, show)
	result.Accepted = err == nil
	if !c.json {
		return err
	}
	if err != nil {
		result.Error = err.Error()
	}
	if printErr := c.printValue(result); printErr != nil {
		return printErr
	}
	if err != nil {
		return errReported
	}
	return nil
}

// converse runs the session and returns the reply to the message.
func (f sendFlags) converse(ctx context.Context, conf *tls.Config, key string, content []byte, show func(who, line string)) (string, error) {
	_, port, err := net.SplitHostPort(f.server)
	if err != nil {
		return "", usageError(fmt.Sprintf("%q is not HOST:PORT", f.server))
	}
	implicit := f.mode == "implicit" || (f.mode == "auto" && port == "465")
	var first *tls.Config
	if implicit {
		first = conf
	}
	d, err := openDialogue(ctx, f.server, first, show)
	if err != nil {
		return "", err
	}
	defer d.close()
	defer context.AfterFunc(ctx, d.close)()
	offered, err := d.hello(f.heloName())
	if err != nil {
		return "", err
	}
	secure := implicit
	if !implicit && f.mode != "none" {
		switch {
		case slices.Contains(offered, "STARTTLS"):
			if offered, err = f.upgrade(ctx, d, conf); err != nil {
				return "", err
			}
			secure = true
		case f.mode == "starttls":
			return "", errors.New("the server does not offer STARTTLS")
		}
	}
	if f.login.wanted(key) {
		if !secure {
			return "", errors.New("there is no TLS: the key is not sent")
		}
		if err := f.login.run(d, key, f.server); err != nil {
			return "", err
		}
	}
	envelope := f.from
	if f.envelope != "" {
		envelope = strings.Trim(f.envelope, "<>")
	}
	reply, err := d.mail(envelope, f.to, offered, bytes.NewReader(content))
	if err != nil {
		return "", err
	}
	_, _ = d.command(221, "QUIT", "") // the message is taken; how the server says goodbye does not matter
	return reply, nil
}

func (f sendFlags) upgrade(ctx context.Context, d *dialogue, conf *tls.Config) ([]string, error) {
	if _, err := d.command(220, "STARTTLS", ""); err != nil {
		return nil, err
	}
	if err := d.startTLS(ctx, conf); err != nil {
		return nil, err
	}
	return d.hello(f.heloName())
}

func (f sendFlags) heloName() string {
	if f.helo != "" {
		return f.helo
	}
	if name, err := os.Hostname(); err == nil && name != "" && !strings.ContainsAny(name, " _") {
		return name
	}
	return "localhost"
}

// content is the message: a file as it is, or a plain text.
func (c *cli) content(f sendFlags) ([]byte, error) {
	switch f.file {
	case "":
		return compose(f, time.Now())
	case "-":
		b, err := io.ReadAll(c.in)
		if err != nil {
			return nil, fmt.Errorf("read message: %w", err)
		}
		return b, nil
	}
	b, err := os.ReadFile(f.file)
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return b, nil
}

func compose(f sendFlags, now time.Time) ([]byte, error) {
	for _, s := range append([]string{f.from, f.subject}, f.to...) {
		if strings.ContainsAny(s, "\r\n\x00") {
			return nil, usageError(fmt.Sprintf("send: a line end in %q", s))
		}
	}
	_, domain, _ := strings.Cut(f.from, "@")
	var b bytes.Buffer
	for _, field := range [][2]string{
		{"From", f.from}, {"To", strings.Join(f.to, ", ")}, {"Subject", mime.QEncoding.Encode("utf-8", f.subject)},
		{"Date", now.Format("Mon, 02 Jan 2006 15:04:05 -0700")}, {"Message-ID", "<" + relay.NewID(now).String() + "@" + domain + ">"},
		{"MIME-Version", "1.0"}, {"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "8bit"},
	} {
		fmt.Fprintf(&b, "%s: %s\r\n", field[0], field[1])
	}
	fmt.Fprintf(&b, "\r\n%s\r\n", strings.ReplaceAll(strings.ReplaceAll(f.body, "\r\n", "\n"), "\n", "\r\n"))
	return b.Bytes(), nil
}
