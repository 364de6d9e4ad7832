package console

import (
	"fmt"
	"strings"

	"rsc.io/qr"
)

// QR is a QR code as the path of an SVG.
type QR struct {
	Size int    // of the drawing with its quiet zone, in modules
	Path string // of the dark modules
}

// quiet is the light margin that readers need, in modules (ISO/IEC 18004).
const quiet = 4

// encodeQR makes a QR code of a text. Runs of dark modules in a line are one
// rectangle.
func encodeQR(text string) (*QR, error) {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return nil, fmt.Errorf("encode QR code: %w", err)
	}
	var b strings.Builder
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			start := x
			for x < code.Size && code.Black(x, y) {
				x++
			}
			if x > start {
				fmt.Fprintf(&b, "M%d %dh%dv1h-%dz", start+quiet, y+quiet, x-start, x-start)
			}
		}
	}
	return &QR{Size: code.Size + 2*quiet, Path: b.String()}, nil
}
