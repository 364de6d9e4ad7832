// Package secret holds what postern does with secrets: the format of API keys
// and the verifiers that are stored for them, the sealing key and the envelopes
// made with it, the keys of message bodies, and a string type that never prints
// itself.
//
// It is not a store: it keeps nothing but the keys it was given, reads no clock
// and logs nothing. Its one invariant: no error, no String, no log value and no
// JSON made here contains a secret; the only ways out are the methods named
// Reveal.
package secret
