package sink

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"postern/internal/smtp"
)

func TestParseFault(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Fault{
		"rcpt,to=*@slow.test,first=2: 451 4.3.0 try again later": {Stage: AtRcpt, To: "*@slow.test", First: 2, Reply: smtp.R(451, 4, 3, 0, "try again later")},
		"connect: 554 no":                    {Stage: AtConnect, Reply: smtp.R(554, 5, 0, 0, "no")},
		"end,delay=3s":                       {Stage: AtEnd, Delay: 3 * time.Second},
		"data,drop":                          {Stage: AtData, Drop: true},
		"mail, from=A@Acme.test: 421":        {Stage: AtMail, From: "a@acme.test", Reply: smtp.R(421, 4, 0, 0, "as requested")},
		"helo: 450 5 apples: and pears":      {Stage: AtHelo, Reply: smtp.R(450, 4, 0, 0, "5 apples: and pears")},
		"end,to=*,delay=10ms,first=1,drop":   {Stage: AtEnd, To: "*", Delay: 10 * time.Millisecond, First: 1, Drop: true},
		"rcpt: 550 5.1.1":                    {Stage: AtRcpt, Reply: smtp.R(550, 5, 1, 1, "as requested")},
		"end: 452 4.2.2 over quota: full up": {Stage: AtEnd, Reply: smtp.R(452, 4, 2, 2, "over quota: full up")},
	} {
		got, err := ParseFault(in)
		if err != nil {
			t.Errorf("%q: %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q:\n%s", in, diff)
		}
	}
	for _, in := range []string{
		"", "rcpt", "nowhere: 451 x", "rcpt: hello", "rcpt: 250 fine", "rcpt: 354 go on", "rcpt: 99", "rcpt: 451 5.0.0 x", "rcpt,first=x: 451", "rcpt,first=-1: 451",
		"rcpt,delay=x: 451", "rcpt,delay=-1s", "rcpt,delay=99h", "rcpt,what=1: 451", "rcpt,drop: 451 x", "mail,to=a@b.test: 451 x", "helo,from=a@b.test: 451 x",
		"rcpt: 451 4.0.0 ü", "rcpt: 451 a\r\n250 b", "rcpt: 650 x",
	} {
		if f, err := ParseFault(in); err == nil {
			t.Errorf("%q was read as %+v", in, f)
		}
	}
}

func FuzzParseFault(f *testing.F) {
	for _, s := range []string{"rcpt,to=*@a.test,first=2: 451 4.3.0 later", "end,drop", "mail,from=a,delay=1s", ":", ",,,:::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ft, err := ParseFault(s)
		if err != nil {
			return
		}
		if ft.check() != nil || strings.ContainsAny(ft.Reply.Text, "\r\n") || ft.Reply.Code != 0 && ft.Reply.Enhanced[0] != ft.Reply.Code/100 {
			t.Fatalf("%+v", ft)
		}
	})
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		pattern, address string
		want             bool
	}{
		{"a@b.test", "A@B.test", true}, {"a@b.test", "xa@b.test", false}, {"*@b.test", "a@b.test", true}, {"*@b.test", "a@xb.test", false},
		{"*b.test", "a@xb.test", true}, {"*", "", true}, {"", "", true},
	} {
		if got := matches(tt.pattern, tt.address); got != tt.want {
			t.Errorf("%q %q: %v", tt.pattern, tt.address, got)
		}
	}
}
