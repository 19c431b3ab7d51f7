package promtest

import "syscall"

// endWithTest lets a program end with the test's process, however that one ends.
func endWithTest() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
