package smtpserver

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"postern/internal/smtp"
)

// bdat is RFC 3030 §2. The chunk follows the command at once, whatever the
// reply will be, so its octets are read in every case; when their number cannot
// be known the stream is out of step and the connection is closed.
func (x *session) bdat(ctx context.Context, arg string) (smtp.Reply, *end) {
	size, last, ok := parseChunk(arg)
	if !ok {
		return replyChunkSyntax, &end{why: "malformed BDAT"}
	}
	in, r, e := x.chunkIntake(ctx)
	if e != nil {
		return r, e
	}
	refused := r.Code != 0
	if refused && size > x.maxSwallow() {
		return r, &end{why: "chunk too big to skip"}
	}
	in.begin()
	defer in.pause()
	if err := x.readChunk(ctx, in, size); err != nil {
		return smtp.Reply{}, x.cutOff(in, err)
	}
	switch {
	case refused:
		return r, nil
	case last:
		return in.finish(ctx), nil
	case in.fault.Code != 0:
		x.forget(ctx)
		return in.fault, nil
	}
	return smtp.R(250, 2, 0, 0, fmt.Sprintf("%d octets received", size)), nil
}

// chunkIntake finds where a chunk goes: to the message's content, or nowhere,
// with the reply that says why.
func (x *session) chunkIntake(ctx context.Context) (*intake, smtp.Reply, *end) {
	if bad, ok := x.mayMail(); !ok {
		return x.swallow(), bad, nil
	}
	if x.tx == nil {
		return x.swallow(), replyNeedMail, nil
	}
	if x.tx.chunks++; x.tx.chunks > x.cfg.Limits.Chunks {
		return nil, replyChunks, &end{why: "too many chunks"}
	}
	if x.tx.body == nil {
		if r := x.open(ctx); r.Code != 0 {
			// Were the transaction to stay open, the next chunk would be taken for the
			// beginning, and a message without its first part accepted.
			x.forget(ctx)
			return x.swallow(), r, nil
		}
	}
	return x.tx.body, smtp.Reply{}, nil
}

// maxSwallow is how large a chunk may be that is only thrown away.
func (x *session) maxSwallow() int64 {
	if x.loggedIn {
		return x.cfg.Limits.MessageSize
	}
	return 1 << 20
}

func (x *session) readChunk(ctx context.Context, in *intake, size int64) error {
	br := x.w.in()
	for size > 0 {
		if _, err := br.Peek(1); err != nil {
			return err
		}
		p, _ := br.Peek(int(min(int64(br.Buffered()), size)))
		err := in.feed(ctx, p)
		br.Discard(len(p))
		if err != nil {
			return err
		}
		size -= int64(len(p))
	}
	return nil
}

// parseChunk reads "size" or "size LAST": 1 to 18 digits and nothing else.
func parseChunk(arg string) (size int64, last, ok bool) {
	digits, word, more := strings.Cut(arg, " ")
	if more && !strings.EqualFold(word, "LAST") {
		return 0, false, false
	}
	if digits == "" || len(digits) > 18 || strings.Trim(digits, "0123456789") != "" {
		return 0, false, false
	}
	size, err := strconv.ParseInt(digits, 10, 64)
	return size, more, err == nil
}
