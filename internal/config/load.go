package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"postern/internal/cert"
)

// maxFile bounds the file: nothing legitimate comes near it.
const maxFile = 4 << 20

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	Line int    `json:"line,omitempty"` // 1-based; 0: not in the file
	Key  string `json:"key,omitempty"`  // "limits.idle", "listener[0].role"
	Text string `json:"text"`
}

// Error is everything that is wrong with a configuration.
type Error struct {
	File     string    `json:"file,omitempty"`
	Problems []Problem `json:"problems"`
}

// Error lists one problem a line, each as "file:line: key: text".
func (e *Error) Error() string {
	lines := make([]string, 0, len(e.Problems))
	for _, p := range e.Problems {
		var b strings.Builder
		if e.File != "" {
			b.WriteString(e.File)
			if p.Line > 0 {
				fmt.Fprintf(&b, ":%d", p.Line)
			}
			b.WriteString(": ")
		}
		if p.Key != "" {
			b.WriteString(p.Key + ": ")
		}
		lines = append(lines, b.String()+p.Text)
	}
	return strings.Join(lines, "\n")
}

// Load reads and validates a file. A wrong file gives an *Error with all of its
// problems, one that cannot be read the error of the file system.
func Load(path string) (*Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read configuration %s: %w", path, err)
	}
	if len(text) > maxFile {
		return nil, &Error{File: path, Problems: []Problem{{Text: fmt.Sprintf("is larger than %s", Size(maxFile))}}}
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c, problems := parse(text, filepath.Dir(abs))
	if len(problems) > 0 {
		return nil, &Error{File: path, Problems: problems}
	}
	c.Path = abs
	return c, nil
}

// Locate fills in the lines at which a configuration's file has what problems are
// about. Those of a file that cannot be read stay without.
func Locate(path string, problems []Problem) {
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	doc := readDocument(text)
	for i := range problems {
		problems[i].Line = doc.line(problems[i].Key)
	}
}

// parse turns a file's text into a configuration whose relative paths count from dir.
func parse(text []byte, dir string) (*Config, []Problem) {
	var any map[string]any
	if err := toml.Unmarshal(text, &any); err != nil {
		return nil, []Problem{decodeProblem(err)}
	}
	doc := readDocument(text)
	if problems := checkShape(doc); len(problems) > 0 {
		return nil, problems
	}
	c := Default()
	if doc.has("listener") || doc.has("listener[0]") {
		c.Listen = nil // the file's replace the default ones
	}
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(c); err != nil {
		return nil, []Problem{decodeProblem(err)}
	}
	c.resolvePaths(dir)
	problems := c.problems()
	for i := range problems {
		problems[i].Line = doc.line(problems[i].Key)
	}
	return c, problems
}

// decodeProblem words an error of the TOML library.
func decodeProblem(err error) Problem {
	if missing, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(missing.Errors) > 0 {
		line, _ := missing.Errors[0].Position()
		return Problem{Line: line, Key: strings.Join(missing.Errors[0].Key(), "."), Text: "unknown key"}
	}
	text := strings.TrimPrefix(err.Error(), "toml: ")
	if d, ok := errors.AsType[*toml.DecodeError](err); ok {
		line, _ := d.Position()
		return Problem{Line: line, Key: strings.Join(d.Key(), "."), Text: "not valid TOML: " + text}
	}
	return Problem{Text: "not valid TOML: " + text}
}

// resolvePaths makes the paths absolute.
func (c *Config) resolvePaths(dir string) {
	for _, p := range []*string{&c.DataDir, &c.Store.SealingKey, &c.TLS.Certificate, &c.TLS.Key, &c.Deliver.CAFile, &c.Log.File, &c.People.BreachedPasswords, &c.Watch.Places, &c.Watch.Networks} {
		absolute(p, dir)
	}
	for i := range c.Issuers {
		absolute(&c.Issuers[i].ClientSecretFile, dir)
		absolute(&c.Issuers[i].CAFile, dir)
	}
	for i := range c.Exports {
		e := &c.Exports[i]
		for _, p := range []*string{&e.CAFile, &e.Certificate, &e.Key, &e.SecretFile} {
			absolute(p, dir)
		}
		if e.Kind == "file" {
			absolute(&e.To, dir)
		}
	}
	for i := range c.SSO {
		absolute(&c.SSO[i].ClientSecretFile, dir)
		absolute(&c.SSO[i].CAFile, dir)
	}
}

// Names of the files that postern keeps in its data directory.
const (
	databaseFile    = "postern.db"
	sealingKeyFile  = "sealing.key"
	certificateFile = "tls.crt"
	keyFile         = "tls.key"
	caFile          = "ca.crt"
	caKeyFile       = "ca.key"
	socketFile      = "admin.sock"
	// ConfigFile is the name of the configuration that init writes there.
	ConfigFile = "postern.toml"
)

// DatabasePath is the SQLite database; unused when store.url is set.
func (c *Config) DatabasePath() string { return filepath.Join(c.DataDir, databaseFile) }

// SealingKeyPath is the file with the sealing key.
func (c *Config) SealingKeyPath() string {
	if c.Store.SealingKey != "" {
		return c.Store.SealingKey
	}
	return filepath.Join(c.DataDir, sealingKeyFile)
}

// CertificatePaths are the files with the certificate chain and its key.
func (c *Config) CertificatePaths() (certificate, key string) {
	if c.TLS.Certificate != "" {
		return c.TLS.Certificate, c.TLS.Key
	}
	return filepath.Join(c.DataDir, certificateFile), filepath.Join(c.DataDir, keyFile)
}

// CAPath is the certificate that clients may trust when the self-signed one is
// in use.
func (c *Config) CAPath() string { return filepath.Join(c.DataDir, caFile) }

// SelfSigned are the files of the certificate that init makes, and whether it is
// the one in use.
func (c *Config) SelfSigned() (f cert.Files, used bool) {
	return cert.Files{
		Authority: c.CAPath(), AuthorityKey: filepath.Join(c.DataDir, caKeyFile),
		Certificate: filepath.Join(c.DataDir, certificateFile), Key: filepath.Join(c.DataDir, keyFile),
	}, c.TLS.Certificate == ""
}

// SocketPath is the socket of the command line.
func (c *Config) SocketPath() string { return SocketPath(c.DataDir) }

// SocketPath is the socket of the command line in a data directory.
func SocketPath(dataDir string) string { return filepath.Join(dataDir, socketFile) }
