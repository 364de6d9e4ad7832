package repo

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	mdLink  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdFence = regexp.MustCompile("(?ms)^```.*?^```")
	codeRef = regexp.MustCompile("`([^`\n]+)`")
	// treePath recognises a path of this tree in backticks: it starts with a
	// top-level folder and holds no placeholder.
	treePath = regexp.MustCompile(`^(cmd|internal|docs|test|bench|packaging|tools)/[A-Za-z0-9_./-]+$`)
	notSlug  = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// slug is the anchor that a Markdown heading gets.
func slug(heading string) string {
	heading = strings.ToLower(strings.TrimSpace(strings.TrimLeft(heading, "#")))
	return strings.ReplaceAll(notSlug.ReplaceAllString(heading, ""), " ", "-")
}

// anchors lists the anchors of a Markdown text.
func anchors(text string) map[string]bool {
	found := map[string]bool{}
	for line := range strings.Lines(mdFence.ReplaceAllString(text, "")) {
		if strings.HasPrefix(line, "#") {
			found[slug(line)] = true
		}
	}
	return found
}

func TestSlug(t *testing.T) {
	for in, want := range map[string]string{
		"## Two commands":              "two-commands",
		"# `postern init`, and then?":  "postern-init-and-then",
		"### RFC 5321 (SMTP) – limits": "rfc-5321-smtp--limits",
	} {
		if got := slug(in); got != want {
			t.Errorf("slug(%q) = %q, want %q", in, got, want)
		}
	}
}

// TestLinksResolve: a relative link leads to a file of the tree and to a
// heading that is there; a path in backticks exists.
func TestLinksResolve(t *testing.T) {
	pages := 0
	for _, name := range files(t) {
		if !strings.HasSuffix(name, ".md") || strings.Contains(name, "/testdata/") {
			continue
		}
		pages++
		text := mdFence.ReplaceAllString(read(t, name), "")
		for _, m := range mdLink.FindAllStringSubmatch(text, -1) {
			checkLink(t, name, m[1])
		}
		for _, m := range codeRef.FindAllStringSubmatch(text, -1) {
			ref := strings.TrimSuffix(m[1], "/")
			if !treePath.MatchString(ref) || strings.HasSuffix(ref, "/...") {
				continue
			}
			if _, err := os.Stat(filepath.Join(root, ref)); err != nil {
				t.Errorf("%s names `%s`, which does not exist", name, m[1])
			}
		}
	}
	if pages == 0 {
		t.Fatal("no Markdown page found")
	}
}

func checkLink(t *testing.T, page, link string) {
	t.Helper()
	if strings.Contains(link, "://") || strings.HasPrefix(link, "mailto:") {
		return
	}
	file, anchor, _ := strings.Cut(link, "#")
	target := page
	if file != "" {
		target = path.Join(path.Dir(page), file)
		if strings.HasPrefix(target, "..") {
			t.Errorf("%s links to %s, outside the tree", page, link)
			return
		}
		if _, err := os.Stat(filepath.Join(root, target)); err != nil {
			t.Errorf("%s links to %s, which does not exist", page, link)
			return
		}
	}
	if anchor != "" && strings.HasSuffix(target, ".md") && !anchors(read(t, target))[anchor] {
		t.Errorf("%s links to %s, but %s has no such heading", page, link, target)
	}
}
