package smtp

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// Caps of a reply that is read. RFC 5321 §4.5.3.1.5 sets 512 octets a line;
// servers in the field say more.
const (
	MaxReplyLine  = 4096     // octets of one line, CRLF included
	MaxReplyLines = 100      // lines of one reply
	MaxReplySize  = 64 << 10 // octets of one reply
)

// maxReplyOut is the longest line that AppendReply writes, CRLF included
// (RFC 5321 §4.5.3.1.5).
const maxReplyOut = 512

// AppendReply appends r in wire form. Every line of it carries the code and the
// enhanced code (RFC 2034 §4). The text is made harmless: control octets and
// anything but ASCII become "?", lines are cut at 512 octets, so that whatever
// a text was built from, one reply comes out. A code outside 200 to 599 is a
// fault of ours and is sent as 451 4.3.0; an enhanced code of another class is
// brought into the reply's.
func AppendReply(buf []byte, r Reply) []byte {
	if r.Code < 200 || r.Code > 599 {
		r = R(451, 4, 3, 0, "Internal error")
	}
	enhanced := ""
	if !r.Enhanced.IsZero() && r.Code/100 != 3 {
		r.Enhanced[0] = r.Code / 100
		enhanced = r.Enhanced.String() + " "
	}
	for text, more := r.Text, true; more; {
		var line string
		line, text, more = strings.Cut(text, "\n")
		start := len(buf)
		buf = strconv.AppendInt(buf, int64(r.Code), 10)
		if more {
			buf = append(buf, '-')
		} else {
			buf = append(buf, ' ')
		}
		buf = append(buf, enhanced...)
		for i := 0; i < len(line) && len(buf)-start < maxReplyOut-2; i++ {
			if c := line[i]; c >= ' ' && c <= '~' {
				buf = append(buf, c)
			} else {
				buf = append(buf, '?')
			}
		}
		buf = append(buf, '\r', '\n')
	}
	return buf
}

// ErrProtocol is wrapped by the errors of ReadReply for input that is no SMTP
// reply, or one over the caps. The stream is out of step then.
var ErrProtocol = errors.New("protocol error")

// ReadReply reads one reply. Missing text is allowed, and so is a line ended by
// LF alone. The enhanced code is taken out of the text where its class fits the
// code's. Control octets (NUL among them) become "?" in the text that is kept;
// other octets stay as they are. Errors wrap ErrProtocol or are those of br;
// an end of input within a reply is io.ErrUnexpectedEOF, before it io.EOF.
func ReadReply(br *bufio.Reader) (Reply, error) {
	var (
		r     Reply
		text  strings.Builder
		total int
	)
	for n := 0; ; n++ {
		line, err := replyLine(br)
		if err == io.EOF && n > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return Reply{}, err
		}
		if total += len(line); n >= MaxReplyLines || total > MaxReplySize {
			return Reply{}, fmt.Errorf("%w: reply too long", ErrProtocol)
		}
		code, last, rest, err := splitReply(line)
		if err != nil {
			return Reply{}, err
		}
		if n == 0 {
			r.Code = code
			r.Enhanced, rest = cutEnhanced(code, rest)
		} else if r.Code != code {
			return Reply{}, fmt.Errorf("%w: codes %d and %d in one reply", ErrProtocol, r.Code, code)
		} else {
			if e, cut := cutEnhanced(code, rest); e == r.Enhanced {
				rest = cut
			}
			text.WriteByte('\n')
		}
		keepText(&text, rest)
		if last {
			r.Text = text.String()
			return r, nil
		}
	}
}

// replyLine reads one line, without its line end.
func replyLine(br *bufio.Reader) ([]byte, error) {
	var long []byte
	for {
		part, err := br.ReadSlice('\n')
		if len(long)+len(part) > MaxReplyLine {
			return nil, fmt.Errorf("%w: reply line over %d octets", ErrProtocol, MaxReplyLine)
		}
		switch {
		case err == bufio.ErrBufferFull:
			long = append(long, part...)
			continue
		case err == io.EOF && len(long)+len(part) > 0:
			return nil, io.ErrUnexpectedEOF
		case err != nil:
			return nil, err
		}
		if long != nil {
			part = append(long, part...)
		}
		part = part[:len(part)-1]
		if n := len(part); n > 0 && part[n-1] == '\r' {
			part = part[:n-1]
		}
		return part, nil
	}
}

// splitReply takes a reply line apart: code, whether it is the last, and text.
func splitReply(line []byte) (code int, last bool, text string, err error) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || !digits(line[1:3]) {
		return 0, false, "", fmt.Errorf("%w: not a reply: %q", ErrProtocol, cut(line, 64))
	}
	code = int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
	switch {
	case len(line) == 3: // RFC 5321 §4.2: the text may be missing
		return code, true, "", nil
	case line[3] == ' ':
		return code, true, string(line[4:]), nil
	case line[3] == '-':
		return code, false, string(line[4:]), nil
	}
	return 0, false, "", fmt.Errorf("%w: not a reply: %q", ErrProtocol, cut(line, 64))
}

// cutEnhanced splits off an enhanced code (RFC 2034 §4) of the code's class.
func cutEnhanced(code int, s string) (EnhancedCode, string) {
	word, rest, _ := strings.Cut(s, " ")
	e, err := ParseEnhancedCode(word)
	if err != nil || e[0] != code/100 {
		return EnhancedCode{}, s
	}
	return e, rest
}

// ParseEnhancedCode reads "5.1.1" (RFC 3463 §2): class 2, 4 or 5, subject and
// detail of one to three digits.
func ParseEnhancedCode(s string) (EnhancedCode, error) {
	var e EnhancedCode
	parts := strings.Split(s, ".")
	if len(s) > 9 || len(parts) != 3 {
		return e, fmt.Errorf("enhanced code %q: want class.subject.detail", cut([]byte(s), 16))
	}
	for i, p := range parts {
		if p == "" || len(p) > 3 || !digits([]byte(p)) || len(p) > 1 && p[0] == '0' {
			return EnhancedCode{}, fmt.Errorf("enhanced code %q: bad number", s)
		}
		e[i], _ = strconv.Atoi(p)
	}
	if e[0] != 2 && e[0] != 4 && e[0] != 5 {
		return EnhancedCode{}, fmt.Errorf("enhanced code %q: no such class", s)
	}
	return e, nil
}

// keepText appends a line of foreign text with its control octets replaced.
func keepText(b *strings.Builder, s string) {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			b.WriteByte('?')
		} else {
			b.WriteByte(c)
		}
	}
}

func digits(p []byte) bool {
	for _, c := range p {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func cut(p []byte, n int) []byte { return p[:min(n, len(p))] }
