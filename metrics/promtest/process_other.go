//go:build !linux

package promtest

import "syscall"

// endWithTest does nothing: a program outlives a test that panics.
func endWithTest() *syscall.SysProcAttr { return nil }
