package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"postern/internal/config"
)

// Where things are when nothing says otherwise: as packaging/ installs them.
const (
	defaultConfig  = "/etc/postern/postern.toml"
	defaultDataDir = "/var/lib/postern"
)

// configPath finds the configuration file: the flag, the variable, the data
// directory's own, the system's.
func (c *cli) configPath() (string, error) {
	if path := environment(c.config, "POSTERN_CONFIG"); path != "" {
		return path, nil
	}
	dir := environment(c.dataDir, "POSTERN_DATA_DIR")
	candidates := []string{defaultConfig, filepath.Join(defaultDataDir, config.ConfigFile)}
	if dir != "" {
		candidates = []string{filepath.Join(dir, config.ConfigFile)}
	}
	for _, path := range candidates {
		_, err := os.Stat(path)
		if err == nil {
			return path, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("find configuration: %w", err)
		}
	}
	return "", fmt.Errorf("no configuration at %s; name it with --config, or make one with \"postern init\"", candidates[len(candidates)-1])
}

// dataDirectory finds the data directory of the server to talk to.
func (c *cli) dataDirectory() (string, error) {
	if c.dataDir != "" {
		return c.dataDir, nil
	}
	if c.config == "" {
		if dir := os.Getenv("POSTERN_DATA_DIR"); dir != "" {
			return dir, nil
		}
	}
	path, err := c.configPath()
	if err != nil {
		return "", errors.New("which server? Give its data directory with --data-dir, or its configuration with --config")
	}
	conf, err := config.Load(path)
	if err != nil {
		return "", fmt.Errorf("%w\n(--data-dir says where the server is without its configuration)", err)
	}
	return conf.DataDir, nil
}
