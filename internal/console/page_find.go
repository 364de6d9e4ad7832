package console

// longList is how many rows a list has at least that is searched rather than read.
const longList = 10

// finder looks for a part of a name in a list: a form that works by its address alone.
// The parameters of keep that were chosen besides stay chosen.
type finder struct {
	list  string // its page
	name  string // the parameter
	label string
	none  string // what is said where nothing is found
	all   string // words of the way back to the whole list
	keep  []string
}

// find is the form of a finder; it gives t what to say where nothing was found. There is
// none above a list that is seen at a glance.
func (v *desk) find(f finder, t *table) form {
	searched := v.sent(f.name) != ""
	if !searched && v.sent("offset") == "" && len(t.Rows) < longList {
		return form{}
	}
	kept := v.path(f.list)
	fields := []field{{Name: f.name, Label: f.label, Value: v.sent(f.name)}}
	for _, name := range f.keep {
		if v.on(name) {
			kept = query(kept, name, v.sent(name))
			fields = append(fields, field{Name: name, Kind: "hidden", Value: v.sent(name)})
		}
	}
	if searched {
		t.Empty, t.Next = f.none, []link{{f.all, kept}}
	} else if v.sent("offset") != "" {
		t.Empty, t.Next = "The list ends before here.", []link{{f.all, kept}}
	}
	return form{Name: "search", Get: true, Action: v.path(f.list), Do: "Search", Fields: fields}
}
