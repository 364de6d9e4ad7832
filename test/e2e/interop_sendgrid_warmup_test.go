package e2e

import (
	"testing"
	"time"
)

// SendGrid's own clients, of which only the host is changed, warm an address up.
func TestSendgridClientsWarmUp(t *testing.T) {
	t.Parallel()
	for _, c := range sendgridClients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newIdentityRelay(t, "")
			r.postern(t, "pool", "add", "letters", "--account", "main", "--address", "127.0.0.2=out2.sender.test", "--address", "127.0.0.3=out3.sender.test")
			key := r.addKey(t, "warm", "--scope", "ips.warmup.create,ips.warmup.read,ips.warmup.delete").APIKey
			sendgridWarmUp(t, c.via(&r.demo), key)
		})
	}
}

func sendgridWarmUp(t *testing.T, via apiClient, key string) {
	const path = "/v3/ips/warmup"
	type entry struct {
		IP        string `json:"ip"`
		StartDate int64  `json:"start_date"`
	}
	ask := func(method, path string, body any, status int, what string) (out []entry) {
		t.Helper()
		a := want(t, via(t, key, method, path, "", nil, body), status, what)
		if status == 200 {
			a.decode(t, &out)
		}
		return out
	}
	if list := ask("GET", path, nil, 200, "list"); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	ask("POST", path, map[string]string{"ip": "127.0.0.77"}, 404, "start with an address of nobody")
	began := time.Now().Unix()
	for what, list := range map[string][]entry{
		"start": ask("POST", path, map[string]string{"ip": "127.0.0.2"}, 200, "start"),
		"list":  ask("GET", path, nil, 200, "list"),
		"show":  ask("GET", path+"/127.0.0.2", nil, 200, "show"),
	} {
		if len(list) != 1 || list[0].IP != "127.0.0.2" || list[0].StartDate < began-1 || list[0].StartDate > time.Now().Unix() {
			t.Errorf("%s: %+v", what, list)
		}
	}
	ask("GET", path+"/127.0.0.3", nil, 404, "show one that is warm")
	ask("DELETE", path+"/127.0.0.2", nil, 204, "stop")
	ask("DELETE", path+"/127.0.0.2", nil, 404, "stop again")
	ask("GET", path+"/127.0.0.2", nil, 404, "show after the stop")
}
