package powercut

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errTruncated = errors.New("strace cut the data short: its -s is too small")

// splitArgs splits at the commas that stand outside quotes, brackets and the
// <…> that strace puts behind descriptors.
func splitArgs(s string) ([]string, error) {
	var out []string
	depth, start, quoted := 0, 0, false
	for i := 0; i < len(s); i++ {
		switch ch := s[i]; {
		case ch == '"':
			quoted = !quoted
		case quoted:
		case ch == '<' || ch == '[' || ch == '{' || ch == '(':
			depth++
		case ch == '>' && i > 0 && s[i-1] == '-': // the arrow of a socket's two ends
		case ch == '>' && (s[max(i-1, 0)] == '=' || s[max(i-1, 0)] == ' '): // "[112 => 16]"
		case ch == '>' || ch == ']' || ch == '}' || ch == ')':
			depth--
		case ch == ',' && depth == 0:
			out = append(out, strings.TrimSpace(s[start:i]))
			start = i + 1
		}
	}
	if depth != 0 || quoted {
		return nil, fmt.Errorf("unbalanced arguments %.80q", s)
	}
	if last := strings.TrimSpace(s[start:]); last != "" {
		out = append(out, last)
	}
	return out, nil
}

// octets decodes a string argument written with -xx.
func octets(arg string) ([]byte, error) {
	if strings.HasSuffix(arg, "...") {
		return nil, errTruncated
	}
	if len(arg) < 2 || arg[0] != '"' || arg[len(arg)-1] != '"' {
		return nil, fmt.Errorf("argument %.40q is no string", arg)
	}
	return unescape(arg[1 : len(arg)-1])
}

// unescape decodes a run of \xNN, the only form that -xx writes.
func unescape(s string) ([]byte, error) {
	if len(s)%4 != 0 {
		return nil, fmt.Errorf("string %.40q is not in \\xNN", s)
	}
	digits := make([]byte, 0, len(s)/2)
	for i := 0; i < len(s); i += 4 {
		if s[i] != '\\' || s[i+1] != 'x' {
			return nil, fmt.Errorf("string %.40q is not in \\xNN", s)
		}
		digits = append(digits, s[i+2], s[i+3])
	}
	out := make([]byte, len(digits)/2)
	if _, err := hex.Decode(out, digits); err != nil {
		return nil, fmt.Errorf("string: %w", err)
	}
	return out, nil
}

// vector decodes the iovec of writev and its kin: [{iov_base="…", iov_len=n}, …].
func vector(arg string) ([]byte, error) {
	inner, ok := strings.CutPrefix(arg, "[")
	inner, ok2 := strings.CutSuffix(inner, "]")
	if !ok || !ok2 {
		return nil, fmt.Errorf("argument %.40q is no vector", arg)
	}
	items, err := splitArgs(inner)
	if err != nil {
		return nil, err
	}
	var out []byte
	for _, item := range items {
		fields, err := splitArgs(strings.Trim(item, "{}"))
		if err != nil || len(fields) == 0 {
			return nil, fmt.Errorf("vector element %.40q: %w", item, errors.Join(err, errTruncated))
		}
		part, err := octets(strings.TrimPrefix(fields[0], "iov_base="))
		if err != nil {
			return nil, err
		}
		out = append(out, part...)
	}
	return out, nil
}

// descriptor splits "5<\x2f…>" into the number and what it is: a path, or the
// two ends of a socket. AT_FDCWD has the number -100.
func descriptor(arg string) (fd int, target string, err error) {
	number, rest, named := strings.Cut(arg, "<")
	if number == "AT_FDCWD" {
		fd = -100
	} else if fd, err = strconv.Atoi(number); err != nil {
		return 0, "", fmt.Errorf("descriptor %.40q: %w", arg, err)
	}
	if !named {
		return fd, "", nil
	}
	end := strings.LastIndexByte(rest, '>')
	if end < 0 {
		return 0, "", fmt.Errorf("descriptor %.40q has no end", arg)
	}
	target = rest[:end]
	if !strings.HasPrefix(target, `\x`) {
		return fd, target, nil // a socket, a pipe
	}
	// What follows the path is a note: the kind of a device.
	if i := strings.IndexByte(target, '<'); i >= 0 {
		target = target[:i]
	}
	target, deleted := strings.CutSuffix(target, "(deleted)")
	path, err := unescape(target)
	if err != nil {
		return 0, "", err
	}
	if deleted || strings.HasSuffix(rest[end:], "(deleted)") {
		return fd, string(path) + deletedMark, nil
	}
	return fd, string(path), nil
}

// deletedMark ends the path of a descriptor whose name is gone.
const deletedMark = " (deleted)"

func number(arg string) (int64, error) {
	n, err := strconv.ParseInt(arg, 0, 64)
	if err != nil {
		return 0, fmt.Errorf("number %.40q: %w", arg, err)
	}
	return n, nil
}
