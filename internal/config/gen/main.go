// Command gen writes what is made from the comments of internal/config: the
// documentation inside the binary, docs/config.toml and docs/config.md. Run it
// as "go generate ./internal/config".
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run() error {
	files, err := generate(os.DirFS("."))
	if err != nil {
		return err
	}
	for path, text := range files {
		full := filepath.Join("..", "..", filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		if err := os.WriteFile(full, []byte(text), 0o644); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	return nil
}
