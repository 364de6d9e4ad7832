package identity

import (
	"iter"
	"slices"
)

// chunk is the most members of one piece of a list.
const chunk = 512

// list is a sorted list that is never changed once it can be seen: adding or
// removing copies one piece of at most chunk members and the list of pieces, so
// that an account with 100,000 keys of its own does not copy them all for one.
type list[T any] struct{ pieces [][]T }

// with returns the list with v in its place by order.
func (l list[T]) with(v T, order func(a, b T) int) list[T] {
	if len(l.pieces) == 0 {
		return list[T]{pieces: [][]T{{v}}}
	}
	p, i, found := l.find(v, order)
	old := l.pieces[p]
	if found {
		piece := slices.Clone(old)
		piece[i] = v
		return l.replaced(p, piece)
	}
	piece := make([]T, 0, len(old)+1)
	piece = append(append(append(piece, old[:i]...), v), old[i:]...)
	if len(piece) <= chunk {
		return l.replaced(p, piece)
	}
	// Members mostly come in order, so what grows is the end: keep the first piece
	// full rather than leave two halves behind.
	at := chunk / 2
	if i == len(old) && p == len(l.pieces)-1 {
		at = chunk
	}
	return l.replaced(p, slices.Clone(piece[:at]), slices.Clone(piece[at:]))
}

// without returns the list without the member that equals v by order.
func (l list[T]) without(v T, order func(a, b T) int) list[T] {
	if len(l.pieces) == 0 {
		return l
	}
	p, i, found := l.find(v, order)
	switch {
	case !found:
		return l
	case len(l.pieces[p]) == 1:
		return l.replaced(p)
	}
	piece := make([]T, 0, len(l.pieces[p])-1)
	return l.replaced(p, append(append(piece, l.pieces[p][:i]...), l.pieces[p][i+1:]...))
}

// find is where v is, or belongs: the piece and the place in it.
func (l list[T]) find(v T, order func(a, b T) int) (p, i int, found bool) {
	p, exact := slices.BinarySearchFunc(l.pieces, v, func(piece []T, v T) int { return order(piece[0], v) })
	if !exact {
		p = max(p-1, 0)
	}
	i, found = slices.BinarySearchFunc(l.pieces[p], v, order)
	return p, i, found
}

func (l list[T]) replaced(p int, with ...[]T) list[T] {
	pieces := make([][]T, 0, len(l.pieces)+1)
	pieces = append(append(append(pieces, l.pieces[:p]...), with...), l.pieces[p+1:]...)
	return list[T]{pieces: pieces}
}

// from goes over the members that are not below v, in order.
func (l list[T]) from(v T, order func(a, b T) int) iter.Seq[T] {
	return func(yield func(T) bool) {
		if len(l.pieces) == 0 {
			return
		}
		p, i, _ := l.find(v, order)
		for ; p < len(l.pieces); p, i = p+1, 0 {
			for _, m := range l.pieces[p][i:] {
				if !yield(m) {
					return
				}
			}
		}
	}
}

func (l list[T]) empty() bool { return len(l.pieces) == 0 }

// slice returns all members in a slice of the caller's own.
func (l list[T]) slice() []T { return slices.Concat(l.pieces...) }
