package webhook

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// The operator's own receiver has any name and address, and sees the certificate;
// a customer's URL of the same place stays refused, and so do other ports.
func TestPrivate(t *testing.T) {
	t.Parallel()
	shown := make(chan int, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(io.Discard, req.Body)
		shown <- len(req.TLS.PeerCertificates)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	own := Config{Ports: []int{port}, Roots: roots, Private: true, Certificates: server.TLS.Certificates}
	post := func(c Config, to string) error {
		client := NewClient(c)
		defer client.Close()
		return client.Post(t.Context(), to, nil, "id", []byte("{}"))
	}
	if err := post(own, server.URL); err != nil {
		t.Fatal(err)
	}
	if n := <-shown; n != 1 {
		t.Errorf("the receiver saw %d certificates", n)
	}
	customers := own
	customers.Private = false
	elsewhere := own
	elsewhere.Ports = nil
	for name, c := range map[string]struct {
		of Config
		to string
	}{
		"a customer's":       {customers, server.URL},
		"another port":       {elsewhere, server.URL},
		"not by TLS":         {own, strings.Replace(server.URL, "https:", "http:", 1)},
		"with a password":    {own, strings.Replace(server.URL, "//", "//a:b@", 1)},
		"nowhere":            {own, "https:///hook"},
		"not a URL":          {own, "https://[::1/hook"},
		"another's protocol": {own, "file:///etc/passwd"},
	} {
		if err := post(c.of, c.to); err == nil {
			t.Errorf("%s is posted to", name)
		}
	}
}
