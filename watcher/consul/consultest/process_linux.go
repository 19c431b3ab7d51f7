package consultest

import "syscall"

// endWithTest lets the agent end with the test's process, however that one ends.
func endWithTest() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
