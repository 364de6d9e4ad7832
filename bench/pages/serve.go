package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// process is the relay that is measured.
type process struct {
	cmd        *exec.Cmd
	log        bytes.Buffer
	url, admin string
	client     *http.Client
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// start runs the relay on the installation and waits until it is ready.
func (w *world) start(ctx context.Context, bin string) (*process, error) {
	var ports [3]string
	for i := range ports {
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	conf := fmt.Sprintf("hostname = \"relay.example.org\"\ndata_dir = %q\ncontact = \"o@example.org\"\n[store]\nmin_free = 0\nkeep_events = \"60d\"\n"+
		"[[listener]]\nname = \"submission\"\nrole = \"submission\"\naddresses = [\"127.0.0.1:%s\"]\ntls = \"starttls\"\n[auth]\nrequests_per_minute = 1000000\n[http]\nlisten = [\"127.0.0.1:%s\"]\n[admin]\nlisten = \"127.0.0.1:%s\"\n",
		w.dir, ports[0], ports[1], ports[2])
	if err := os.WriteFile(w.config, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	p := &process{url: "http://localhost:" + ports[1], admin: "http://127.0.0.1:" + ports[2], client: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	p.cmd = exec.CommandContext(ctx, bin, "serve", "--config", w.config)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for begin := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > 2*time.Minute {
			p.stop()
			return nil, fmt.Errorf("not ready after two minutes:\n%s", p.log.String())
		}
		answer, err := http.Get(p.admin + "/readyz")
		if err != nil {
			continue
		}
		answer.Body.Close()
		if answer.StatusCode == http.StatusOK {
			return p, nil
		}
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
}

// indexed waits until the index has all events.
func (p *process) indexed(ctx context.Context) error {
	for begin := time.Now(); ; {
		left, err := p.lag(ctx)
		if err != nil {
			return err
		}
		if left == "0" && time.Since(begin) > 15*time.Second { // it is measured every ten
			return nil
		}
		fmt.Fprintf(os.Stderr, "\r%s events are not indexed yet   ", left)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
		if time.Since(begin) > time.Hour {
			return fmt.Errorf("not indexed after an hour:\n%s", p.log.String())
		}
	}
}

// lag is how many events the index lacks, as the metric says.
func (p *process) lag(ctx context.Context) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, p.admin+"/metrics", nil)
	if err != nil {
		return "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	for s := bufio.NewScanner(answer.Body); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), `postern_event_lag_records{consumer="index",stream="events"} `); ok {
			return rest, nil
		}
	}
	return "?", nil
}
