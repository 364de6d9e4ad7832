package v3

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

// recordWriter writes records as they come, so that a long list is never in
// memory whole.
type recordWriter interface {
	// begin sends status and headers.
	begin() error
	record(r row) error
	end(recordsEnd) error
}

// recordsEnd is what stands behind the records: the cursor of the last one that was
// read, whether there may be more behind it, and how far back was looked for them;
// nil: all the way.
type recordsEnd struct {
	After string     `json:"after"`
	More  bool       `json:"more"`
	Since *time.Time `json:"searched_since,omitempty"`
}

// row is one record: v for JSON, cells for CSV.
type row struct {
	v     any
	cells []string
}

// recordFormat picks the writer: by the parameter format, else by Accept as
// SendGrid's lists do.
func recordFormat(c *Call, name string, columns []string) (recordWriter, error) {
	format := c.Text("format")
	if format == "" && strings.HasPrefix(c.R.Header.Get("Accept"), "text/csv") {
		format = "csv"
	}
	out := bufio.NewWriterSize(c.W, 32<<10)
	switch format {
	case "", "json":
		return &jsonRecords{w: c.W, out: out}, nil
	case "csv":
		w := csv.NewWriter(out)
		w.UseCRLF = true // RFC 4180 §2
		return &csvRecords{w: c.W, out: out, csv: w, name: name, columns: columns}, nil
	}
	return nil, invalid("format", "Write json or csv.")
}

type jsonRecords struct {
	w     http.ResponseWriter
	out   *bufio.Writer
	count int
}

func (j *jsonRecords) begin() error {
	j.w.Header().Set("Content-Type", "application/json")
	j.w.WriteHeader(http.StatusOK)
	_, err := j.out.WriteString(`{"result":[`)
	return err
}

func (j *jsonRecords) record(r row) error {
	b, err := json.Marshal(r.v)
	if err != nil {
		return err
	}
	if j.count++; j.count > 1 {
		b = append([]byte{','}, b...)
	}
	_, err = j.out.Write(b)
	return err
}

func (j *jsonRecords) end(e recordsEnd) error {
	tail, err := json.Marshal(e)
	if err != nil {
		return err
	}
	// The rest of an object that begins with result.
	_, err = j.out.WriteString("]," + string(tail[1:]) + "\n")
	return errors.Join(err, j.out.Flush())
}

// csvRecords has the cursor of each record in its first column.
type csvRecords struct {
	w       http.ResponseWriter
	out     *bufio.Writer
	csv     *csv.Writer
	name    string
	columns []string
}

func (v *csvRecords) begin() error {
	h := v.w.Header()
	h.Set("Content-Type", "text/csv; charset=utf-8; header=present")
	h.Set("Content-Disposition", `attachment; filename="`+v.name+`.csv"`)
	v.w.WriteHeader(http.StatusOK)
	return v.csv.Write(v.columns)
}

func (v *csvRecords) record(r row) error {
	for i := range r.cells {
		r.cells[i] = safeCell(r.cells[i])
	}
	return v.csv.Write(r.cells)
}

func (v *csvRecords) end(recordsEnd) error {
	v.csv.Flush()
	return errors.Join(v.csv.Error(), v.out.Flush())
}

// safeCell keeps a spreadsheet from taking a stranger's words for a formula
// (AP-20).
func safeCell(s string) string {
	if s != "" && strings.IndexByte("=+-@\t\r\n", s[0]) >= 0 {
		return "'" + s
	}
	return s
}

const (
	recordPage = 500
	// maxScanned is how many pages are read for one answer with a limit: what of them
	// the caller may not see does not count against the limit.
	maxScanned = 40
	// pageTime is how long a client may take for one page of a long answer.
	pageTime = time.Minute
)

// listing is one walk through records, the oldest first.
type listing[T any] struct {
	recordWindow // limit 0: all
	// some: show leaves records out.
	some bool
	// read returns at most n records behind a place; last is the newest one that was
	// read so far, nil at first. since says how far back it looked for the newest; zero:
	// as far as was needed.
	read func(after int64, n int, last *T) (records []T, since time.Time, err error)
	id   func(*T) int64
	// show makes the row, or says that the caller may not see the record.
	show   func(*T) (row, bool)
	cursor func(id int64) string

	// older: read found more before the newest.
	older bool
	sent  int
	last  *T
}

// run walks and writes. Until the first page is read an error is answered as one;
// later it cuts the connection.
func (l *listing[T]) run(c *Call, w recordWriter) error {
	for page := 1; ; page++ {
		n := l.pageSize()
		records, since, err := l.read(l.after, n, l.last)
		if err != nil {
			return err
		}
		if page == 1 {
			if err := w.begin(); err != nil {
				return err
			}
		}
		seen, err := l.write(w, records)
		switch {
		case err != nil:
			return err
		case !since.IsZero():
			return l.end(w, true, &since)
		case l.newest:
			return l.end(w, l.older, nil)
		case seen == len(records) && seen < n:
			return l.end(w, false, nil)
		case l.full(), l.limit > 0 && page == maxScanned:
			return l.end(w, true, nil)
		}
		// Not every writer has a deadline; the server's own holds then.
		_ = http.NewResponseController(c.W).SetWriteDeadline(time.Now().Add(pageTime))
	}
}

func (l *listing[T]) full() bool { return l.limit > 0 && l.sent == l.limit }

func (l *listing[T]) pageSize() int {
	switch {
	case l.newest:
		return l.limit
	case l.limit == 0 || l.some:
		return recordPage
	}
	return min(recordPage, l.limit-l.sent)
}

// write writes records until the limit, and says how many it looked at.
func (l *listing[T]) write(w recordWriter, records []T) (seen int, err error) {
	for i := range records {
		if l.full() {
			return i, nil
		}
		l.last, l.after = &records[i], l.id(&records[i])
		if r, ok := l.show(l.last); ok {
			if err := w.record(r); err != nil {
				return i, err
			}
			l.sent++
		}
	}
	return len(records), nil
}

func (l *listing[T]) end(w recordWriter, more bool, since *time.Time) error {
	after := ""
	if l.after > 0 {
		after = l.cursor(l.after)
	}
	return w.end(recordsEnd{After: after, More: more, Since: since})
}
