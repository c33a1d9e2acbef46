//go:build !linux

package app

// harden has nothing to do outside Linux, where servers run.
func harden() error { return nil }
