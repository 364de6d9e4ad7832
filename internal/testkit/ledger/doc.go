// Package ledger proves that a mail relay loses nothing: it hands messages in
// as many clients do, writes down every promise that it was given (each 250
// that a client read), records at the far end every copy that a receiving
// server took, and compares the two.
//
// It is the judge, so it shares no code with the relay: its SMTP client, its
// sink and its DNS answers are written here, on the standard library.
//
// Its one invariant: an [Entry] only ever claims what its client saw. "Acked"
// means that the complete 250 was read; "sent" means that the client wrote the
// end of data and then lost the connection, so that the message may or may not
// have been accepted (RFC 1047); "cut" means that the end of data never left.
//
// Use: make a [Ledger], start a [Sink] and a [Zone], run a [Load] against the
// relay, tell the ledger of each kill, and after the queue has run empty call
// [Ledger.Check].
package ledger
