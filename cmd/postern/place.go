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
		if errors.Is(err, fs.ErrPermission) {
			return "", asServer(err)
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
	if errors.Is(err, fs.ErrPermission) {
		return "", err
	}
	if err != nil {
		return "", errors.New("which server? Give its data directory with --data-dir, or its configuration with --config")
	}
	conf, err := config.Load(path)
	if errors.Is(err, fs.ErrPermission) {
		return "", asServer(err)
	}
	if err != nil {
		return "", fmt.Errorf("%w\n(--data-dir says where the server is without its configuration)", err)
	}
	return conf.DataDir, nil
}

// asServer says who can read what this user may not.
func asServer(err error) error {
	return fmt.Errorf("%w: run this as the user that the server runs as, or as root", err)
}

// configuration finds the configuration file and reads it.
func (c *cli) configuration() (*config.Config, error) {
	path, err := c.configPath()
	if err != nil {
		return nil, err
	}
	return c.loadConfig(path)
}

// loadConfig reads the configuration that configPath finds. One that was found in
// the directory of --data-dir must be that directory's: a copy that still names
// the original would open the original.
func (c *cli) loadConfig(path string) (*config.Config, error) {
	conf, err := config.Load(path)
	if errors.Is(err, fs.ErrPermission) {
		return nil, asServer(err)
	}
	if err != nil {
		return nil, err
	}
	dir := environment(c.dataDir, "POSTERN_DATA_DIR")
	if dir == "" || environment(c.config, "POSTERN_CONFIG") != "" || sameFile(dir, conf.DataDir) {
		return conf, nil
	}
	return nil, fmt.Errorf("%s says data_dir = %q, and --data-dir is %s: if this is a copy or was moved, change data_dir in it", path, conf.DataDir, dir)
}

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}
