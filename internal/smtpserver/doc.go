// Package smtpserver serves inbound SMTP sessions: it owns the octets, the
// order of commands, TLS, the limits and the words of its replies, and asks a
// Backend for every decision. It stores nothing, resolves nothing and judges no
// content beyond its form.
//
// Its one invariant: a message reaches Body.Commit only after its true end was
// read, over a session in which every step before it was answered 2yz, and each
// message that is read gets exactly one reply.
//
// A Server serves one listener, which has a role: a submission listener takes
// mail after login only; an mx listener takes mail from anyone, for recipients
// that the Backend names, and becomes a submission listener for those who log
// in. Several servers may share one Quota.
//
//	srv, err := smtpserver.New(smtpserver.Config{…}, backend)
//	go srv.Serve(ctx, listener)
//	…
//	err = srv.Drain(ctx)
//
// DESIGN.md beside this file has the states and the reasons.
package smtpserver
