package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"

	"postern/internal/httpx"
	"postern/internal/relay"
)

//go:embed assets
var assetFiles embed.FS

// asset is one file as it is served.
type asset struct {
	kind string
	text []byte
}

var assetKinds = map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}

// assets are the files by name; assetBase is where pages find them. It changes with
// their content, so that a browser may keep each for ever.
var assets, assetBase = loadAssets()

func loadAssets() (map[string]asset, string) {
	all := map[string]asset{}
	sum := sha256.New()
	err := fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kind, ok := assetKinds[path.Ext(name)]
		if !ok {
			return nil // a licence
		}
		b, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		all[path.Base(name)] = asset{kind, b}
		sum.Write([]byte(name))
		sum.Write(b)
		return nil
	})
	if err != nil {
		panic(err) // they are embedded: it cannot fail
	}
	return all, "/assets/" + hex.EncodeToString(sum.Sum(nil)[:8])
}

func assetRoutes() []httpx.Route {
	return []httpx.Route{{Method: "GET", Pattern: "/assets/{hash}/{name}", Handler: serveAsset}}
}

// serveAsset serves a file. Under another version's hash, as a page of a node that
// runs another version asks for it, the file is ours but not to be kept.
func serveAsset(w http.ResponseWriter, r *http.Request) error {
	a, ok := assets[r.PathValue("name")]
	if !ok {
		return relay.E(relay.NotFound, "not found")
	}
	h := w.Header()
	h.Set("Content-Type", a.kind)
	if "/assets/"+r.PathValue("hash") == assetBase {
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := w.Write(a.text)
	return err
}
