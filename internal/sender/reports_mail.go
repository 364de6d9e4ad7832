package sender

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"slices"
	"strings"

	gomessage "github.com/emersion/go-message"

	"postern/internal/dmarc"
)

// The limits of the search for an attachment.
const (
	maxReportHeader = 256 << 10 // octets of one header section
	maxReportParts  = 64
	maxReportDepth  = 8
	maxReportFile   = 16 << 20 // octets, decoded
)

// reportTypes are the media types that reports are attached as: RFC 9990 has the
// first two, the others are what is sent as well.
var reportTypes = []string{
	"application/gzip", "text/xml", "application/x-gzip", "application/zip", "application/x-zip-compressed", "application/x-zip",
	"application/xml", "application/octet-stream",
}

// reportAttachment finds the report in a message: its first attachment that may
// be one, or the message itself. It returns the octets and the name that the
// file has.
func reportAttachment(raw []byte) (file []byte, name string, err error) {
	e, err := gomessage.ReadWithOptions(bytes.NewReader(raw), &gomessage.ReadOptions{MaxHeaderBytes: maxReportHeader})
	if e == nil {
		return nil, "", fmt.Errorf("%w: message: %w", dmarc.ErrReport, err)
	}
	f := finder{left: maxReportParts}
	f.walk(e, 0)
	switch {
	case f.err != nil:
		return nil, "", fmt.Errorf("%w: attachment: %w", dmarc.ErrReport, f.err)
	case f.file == nil:
		return nil, "", fmt.Errorf("%w: the message has no attachment that may be one", dmarc.ErrReport)
	case len(f.file) > maxReportFile:
		return nil, "", fmt.Errorf("%w: attachment over %d octets", dmarc.ErrReportSize, maxReportFile)
	}
	return f.file, f.name, nil
}

type finder struct {
	left int
	file []byte
	name string
	err  error
}

func (f *finder) walk(e *gomessage.Entity, depth int) {
	if f.left--; f.left < 0 || depth > maxReportDepth {
		return
	}
	if mr := e.MultipartReader(); mr != nil {
		for f.file == nil && f.left > 0 {
			part, err := mr.NextPart()
			if part == nil || err != nil && !gomessage.IsUnknownCharset(err) && !gomessage.IsUnknownEncoding(err) {
				return
			}
			f.walk(part, depth+1)
		}
		return
	}
	kind, params, err := e.Header.ContentType()
	if err != nil && kind == "" {
		return
	}
	_, where, err := mime.ParseMediaType(e.Header.Get("Content-Disposition"))
	if err != nil {
		where = nil // one that cannot be read names no file
	}
	name := where["filename"]
	if name == "" {
		name = params["name"]
	}
	if !slices.Contains(reportTypes, strings.ToLower(kind)) && !reportName(name) {
		return
	}
	f.name = name
	f.file, f.err = io.ReadAll(io.LimitReader(e.Body, maxReportFile+1))
}

// reportName: a file of this name may be a report, whatever its type.
func reportName(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{".xml", ".xml.gz", ".zip", ".gz"}, func(end string) bool { return strings.HasSuffix(name, end) })
}
