package app

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps this process's memory to itself: no core dump, and no other
// process without CAP_SYS_PTRACE may read it. Nothing turns this off.
func harden() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fmt.Errorf("core dumps cannot be turned off: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("the process cannot be made undumpable: %w", err)
	}
	return nil
}
