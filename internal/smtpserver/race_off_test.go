//go:build !race

package smtpserver_test

const raceEnabled = false
