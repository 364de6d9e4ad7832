package app

import "net"

// Addrs lists where a listener is bound: one of the configuration's by its name,
// or "http", "admin" and "admin.sock". With port 0 configured, this is how to
// learn the port.
func (a *App) Addrs(name string) (addrs []net.Addr) {
	for _, l := range a.listeners {
		if l.conf.Name == name {
			addrs = append(addrs, l.socket.Addr())
		}
	}
	for _, e := range a.edges {
		if e.name == name {
			addrs = append(addrs, e.listener.Addr())
		}
	}
	return addrs
}
